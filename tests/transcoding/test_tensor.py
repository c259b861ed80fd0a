"""Datatypes, shapes and BYTES elements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.tensor import DATATYPES, MAX_PACKED, MAX_RANK, join_elements, layout, split_elements


@pytest.mark.parametrize(
    ("datatype", "size"),
    [("BOOL", 1), ("INT8", 1), ("UINT16", 2), ("INT32", 4), ("UINT64", 8), ("FP16", 2), ("BF16", 2), ("FP32", 4)],
)
def test_a_layout_knows_its_bytes(datatype: str, size: int) -> None:
    made = layout(datatype, (2, 3))
    assert (made.count, made.size) == (6, 6 * size)
    assert made.packer is None or made.packer.size == made.size


def test_bytes_have_no_fixed_size() -> None:
    assert (layout("BYTES", (2,)).count, layout("BYTES", (2,)).size) == (2, -1)


def test_no_dimensions_are_one_element_and_a_zero_is_none() -> None:
    assert layout("INT32", ()).count == 1
    assert layout("INT32", (3, 0)).count == 0


@pytest.mark.parametrize(
    ("datatype", "shape", "message"),
    [
        ("FP128", (1,), "datatype: expected one of BOOL, INT8, .*, got 'FP128'"),
        ("fp32", (1,), "datatype: "),
        ("INT8", (1, -1), r"shape\[1\]: expected an integer ≥ 0, got -1"),
        ("INT8", (1,) * (MAX_RANK + 1), "shape: expected at most 32 dimensions, got 33"),
        ("INT8", (2**62, 2), r"shape: the tensor would have more than 2\^63 - 1 bytes"),
        ("INT64", (2**60,), "shape: the tensor would have more"),
        ("BYTES", (2**61,), "shape: the tensor would have more"),
        ("INT8", (2**63, 0), "shape: the tensor would have more"),
    ],
)
def test_a_wrong_layout_names_its_field(datatype: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        layout(datatype, shape)


def test_a_huge_shape_allocates_nothing() -> None:
    assert layout("INT8", (2**62,)).packer is None
    assert layout("INT8", (MAX_PACKED + 1,)).packer is None


def test_ranges_are_those_of_the_types() -> None:
    assert (DATATYPES["INT8"].low, DATATYPES["INT8"].high) == (-128, 127)
    assert (DATATYPES["UINT64"].low, DATATYPES["UINT64"].high) == (0, 2**64 - 1)


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_elements_are_joined_and_split(elements: list[bytes]) -> None:
    raw = join_elements(elements)
    assert split_elements(raw) == elements
    assert split_elements(memoryview(raw)) == elements


@given(st.binary(max_size=40))
def test_any_bytes_split_or_are_an_error(raw: bytes) -> None:
    try:
        elements = split_elements(raw)
    except ValueError:
        return
    assert join_elements(elements) == raw


@pytest.mark.parametrize(
    ("raw", "index"),
    [(b"\x01", 0), (b"\x01\0\0\0", 0), (b"\x01\0\0\0a\x05\0\0\0", 1), (b"\0\0\0\0\xff\xff\xff\xff", 1)],
)
def test_a_length_that_lies_names_its_element(raw: bytes, index: int) -> None:
    with pytest.raises(ValueError, match=f"^element {index}: its length points behind the end"):
        split_elements(raw)
