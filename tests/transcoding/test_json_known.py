"""A body whose skeleton is known is decoded to what the exact path makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding import json_known
from transcoding.dialects.oip_json import _decode_exactly, decode_request
from transcoding.message import InferRequest
from transcoding.status import GatewayError


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    json_known._known.clear()
    yield
    json_known._known.clear()


def exact(body: bytes) -> InferRequest:
    return _decode_exactly(body, None, "m", "")


def body(*tensors: tuple[str, list[Any]], **more: Any) -> bytes:
    inputs = [
        {"name": f"I{index}", "shape": [len(data)], "datatype": datatype, "data": data}
        for index, (datatype, data) in enumerate(tensors)
    ]
    return json.dumps({"inputs": inputs, **more}).encode()


def teach(text: bytes) -> None:
    for _ in range(2):
        json_known.learn(text, exact(text), exact)


def outcome(decode: Any, text: bytes) -> Any:
    try:
        return decode(text)
    except GatewayError as error:
        return error.code, error.message


def test_the_third_body_is_known() -> None:
    texts = [body(("INT32", [number, 2]), ("FP32", [0.5])) for number in range(3)]
    assert [json_known.decode(text, "m", "") for text in texts[:1]] == [None]
    for text in texts[:2]:
        json_known.learn(text, exact(text), exact)
    assert json_known.decode(texts[2], "m", "") == exact(texts[2])


numbers = {
    "INT8": st.integers(-200, 200),
    "UINT8": st.integers(-5, 300),
    "INT32": st.integers(-(2**40), 2**40),
    "INT64": st.integers(-(2**65), 2**65),
    "UINT64": st.integers(-1, 2**66),
    "FP32": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70)),
    "FP64": st.floats(allow_nan=False, allow_infinity=False),
}


@given(st.data(), st.lists(st.sampled_from(sorted(numbers)), min_size=1, max_size=3), st.booleans())
def test_known_or_not_the_outcome_is_the_same(data: st.DataObject, datatypes: list[str], outputs: bool) -> None:
    more = {"outputs": [{"name": "O", "parameters": {"binary_data": True}}]} if outputs else {}
    counts = [data.draw(st.integers(0, 4)) for _ in datatypes]
    teach(body(*((datatype, [1] * count) for datatype, count in zip(datatypes, counts, strict=True)), **more))
    tensors = [
        (datatype, data.draw(st.lists(numbers[datatype] | st.just(1.0), min_size=count, max_size=count)))
        for datatype, count in zip(datatypes, counts, strict=True)
    ]
    text = body(*tensors, **more)
    assert outcome(lambda text: decode_request(text, None, "m", ""), text) == outcome(exact, text)


@pytest.mark.parametrize(
    "array", [b"1,", b",1", b"1 2", b"1e400", b"--1", b"01", b"1.0", b"99999999999", b"", b"1,2,3"]
)
def test_arrays_that_are_none_have_the_words_of_the_exact_path(array: bytes) -> None:
    good = body(("INT32", [1, 2]))
    teach(good)
    assert json_known.decode(good, "m", "") is not None
    bad = good.replace(b"[1, 2]", b"[%b]" % array)
    assert outcome(lambda text: decode_request(text, None, "m", ""), bad) == outcome(exact, bad)


@pytest.mark.parametrize(
    "text",
    [
        body(("INT32", [1]), id="x"),
        body(("INT32", [1]), parameters={"a": 1}),
        b'{"data": [1], "inputs": [{"name": "I", "shape": [1], "datatype": "INT32", "data": [[1]]}]}',
        b'{"inputs": [{"name": "I", "shape": [1], "datatype": "INT32", "data": [2], "data": [[1]]}]}',
        b'{"inputs": [{"name": "I", "shape": [1], "datatype": "INT32", "data": [7], "data": [7]}]}',
        b'{"inputs": [{"name": "\\"data\\":[1]", "shape": [1], "datatype": "INT32", "data": [[1]]}]}',
        b'{"inputs": [{"name": "I", "shape": [1], "datatype": "BYTES", "data": ["1"]}]}',
        b'{"inputs": [{"name": "I", "shape": [1], "datatype": "BOOL", "data": [true]}]}',
        b'{"x": {"data": [5]}, "inputs": [{"name": "I", "shape": [1], "datatype": "INT32", "data": [[5]]}]}',
    ],
)
def test_what_is_left_to_the_exact_path(text: bytes) -> None:
    teach(text)
    assert json_known.decode(text, "m", "") is None


def test_what_is_remembered_is_bounded() -> None:
    for number in range(2 * json_known.ENTRIES):
        text = body(("INT32", [1]), more=number)
        json_known.learn(text, exact(text), exact)
    assert len(json_known._known) <= json_known.ENTRIES


def test_nothing_is_shared_between_requests() -> None:
    text = body(("INT32", [1]), outputs=[{"name": "O"}])
    teach(text)
    first, second = (json_known.decode(text, "m", "") for _ in range(2))
    assert first is not None
    assert second is not None
    first.outputs.clear()
    first.inputs.clear()
    assert second == exact(text)
