"""Varints, tags and fields."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.protobuf_wire import (
    MALFORMED,
    WireError,
    delimited,
    fields,
    packed_varints,
    read_tag,
    read_varint,
    signed,
    skip,
    text,
    varint,
)

words = st.integers(0, 2**64 - 1) | st.integers(0, 300)


@given(words, st.binary(max_size=3))
def test_a_varint_is_read_as_written(value: int, rest: bytes) -> None:
    wire = varint(value)
    assert read_varint(b"x" + wire + rest, 1) == (value, 1 + len(wire))
    assert read_varint(memoryview(wire), 0)[0] == value


@pytest.mark.parametrize(("value", "wire"), [(0, b"\0"), (127, b"\x7f"), (300, b"\xac\x02"), (-1, b"\xff" * 9 + b"\1")])
def test_known_varints(value: int, wire: bytes) -> None:
    assert varint(value) == wire


def test_a_negative_number_is_its_twos_complement() -> None:
    assert signed(read_varint(varint(-5), 0)[0]) == -5
    assert signed(2**63 - 1) == 2**63 - 1


@pytest.mark.parametrize("wire", [b"\xff" * 10 + b"\1", b"\x80" * 11])
def test_a_varint_has_ten_bytes_at_most(wire: bytes) -> None:
    with pytest.raises(WireError):
        read_varint(wire, 0)
    with pytest.raises(WireError):
        packed_varints(wire)


@given(st.lists(words, max_size=20))
def test_packed_varints_are_the_numbers(values: list[int]) -> None:
    wire = b"".join(map(varint, values))
    assert packed_varints(wire).tolist() == values
    assert packed_varints(memoryview(wire)).dtype == np.uint64


@pytest.mark.parametrize("wire", [b"\x80", b"\1\xff", b"\x80" * 5])
def test_packed_varints_that_are_cut_off(wire: bytes) -> None:
    with pytest.raises(WireError):
        packed_varints(wire)


def test_overlong_varints_are_numbers_too() -> None:
    assert read_varint(b"\x81\x80\x00", 0) == (1, 3)
    assert packed_varints(b"\x81\x80\x00\x05").tolist() == [1, 5]


def test_text_is_left_out_when_it_is_the_default() -> None:
    assert text(0x0A, "") == b""
    assert text(0x0A, "é") == b"\x0a\x02\xc3\xa9"
    assert delimited(0x0A, b"") == b"\x0a\x00"


def test_fields_are_told_in_order() -> None:
    wire = b"\x08\x96\x01" + delimited(0x12, b"ab") + b"\x1d\0\0\0\x01" + b"\x21" + b"\x02" * 8 + b"\x2b\x08\x01\x2c"
    assert list(fields(wire)) == [(0x08, 150), (0x12, b"ab"), (0x1D, b"\0\0\0\1"), (0x21, b"\2" * 8)]


@pytest.mark.parametrize(
    "wire",
    [
        b"\x08",
        b"\x12\x05ab",
        b"\x1d\0\0",
        b"\x21\0",
        b"\x00\x01",
        b"\x07\x01",
        b"\x0e",
        b"\x0c",
        b"\x0b",
        b"\x0b\x14",
        b"\x0b" * 150,
        b"\xff" * 6,
        b"\x8a\x80\x80\x80\x80\x00\x01x",
    ],
)
def test_malformed_fields(wire: bytes) -> None:
    with pytest.raises(MALFORMED):
        list(fields(wire))


def test_groups_nest_and_are_left_out() -> None:
    assert list(fields(b"\x0b" * 100 + b"\x0c" * 100)) == []
    assert skip(b"\x13\x14\x0c", 0x0B, 0) == 3


def test_tags_have_a_field_number_and_32_bits() -> None:
    assert read_tag(b"\x0a", 0) == (10, 1)
    assert read_tag(b"\xfd\xff\xff\xff\x0f", 0) == (2**32 - 3, 5)
    for wire in (b"\x05", b"\x80\x80\x80\x80\x10"):
        with pytest.raises(WireError):
            read_tag(wire, 0)
