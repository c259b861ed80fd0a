"""A reply whose form is known is decoded to what the exact path makes of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding import reply_known
from transcoding.dialects.oip_grpc import _decode_reply, decode_reply, encode_reply
from transcoding.message import InferReply, Tensor
from transcoding.protobuf_wire import delimited, text


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    reply_known._forms.clear()
    yield
    reply_known._forms.clear()


def message(*numbers: int, model: str = "m", id: str = "") -> bytes:
    outputs = [Tensor(f"O{index}", "INT32", (1,), struct.pack("<i", number)) for index, number in enumerate(numbers)]
    return b"".join(bytes(part) for part in encode_reply(InferReply(model, "1", id, None, outputs)))


def teach(known: bytes) -> None:
    reply_known.learn(known, _decode_reply(known), _decode_reply)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4), st.sampled_from(["m", "another"]))
def test_known_or_not_it_is_the_same(numbers: list[int], model: str) -> None:
    teach(message(*(0 for _ in numbers), model="m"))
    assert decode_reply(message(*numbers, model=model)) == _decode_reply(message(*numbers, model=model))


def test_a_form_is_known_after_one_message() -> None:
    teach(message(1, 2))
    assert reply_known.decode(message(3, 4)) == _decode_reply(message(3, 4))


@pytest.mark.parametrize("change", range(len(message(1, 2))))
def test_each_byte_that_differs_is_seen(change: int) -> None:
    known = message(1, 2)
    teach(known)
    other = bytearray(known)
    other[change] ^= 0x01
    found = reply_known.decode(bytes(other))
    assert found is None or found == _decode_reply(bytes(other))


@pytest.mark.parametrize(
    "odd",
    [
        message(1, id="x"),
        message(),
        # typed contents that end with what looks like raw contents
        text(0x0A, "m")
        + delimited(
            0x2A,
            text(0x0A, "O")
            + text(0x12, "BYTES")
            + b"\x1a\x01\x01"
            + delimited(0x2A, delimited(0x42, b"2\x05\x01\0\0\0A")),
        ),
    ],
)
def test_what_is_not_remembered(odd: bytes) -> None:
    teach(odd)
    assert reply_known.decode(odd) is None


def test_what_is_remembered_is_bounded() -> None:
    for number in range(2 * reply_known.ENTRIES):
        teach(message(1, model=f"m{number}" + "x" * (number % 50)))
    assert len(reply_known._forms) <= reply_known.ENTRIES
