"""Elements between JSON and bytes: exact types, exact numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from tests.support.hub import JSON_DATATYPES, same_data, tensors
from transcoding.json_tensors import flatten, to_json, to_raw
from transcoding.json_text import loads
from transcoding.message import Tensor
from transcoding.status import Fault, GatewayError
from transcoding.tensor import MAX_PACKED, join_elements, layout


@given(tensors(JSON_DATATYPES, json=True))
def test_every_value_survives_the_round_trip(tensor: Tensor) -> None:
    made = layout(tensor.datatype, tensor.shape)
    text = to_json(tensor.data, made, tensor.name)
    back = to_raw(loads(text), made, tensor.name, "x")
    assert same_data(tensor, Tensor(tensor.name, tensor.datatype, tensor.shape, back))


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("BOOL", [True, False], b"\x01\x00"),
        ("INT8", [-128, 127], b"\x80\x7f"),
        ("UINT8", [0, 255], b"\x00\xff"),
        ("INT16", [-2, 1], b"\xfe\xff\x01\x00"),
        ("INT64", [2**63 - 1, -(2**63)], b"\xff" * 7 + b"\x7f" + bytes(7) + b"\x80"),
        ("UINT64", [2**64 - 1, 0], b"\xff" * 8 + bytes(8)),
        ("FP32", [1, -0.0], b"\x00\x00\x80\x3f\x00\x00\x00\x80"),
        ("FP32", [math.inf, -math.inf], b"\x00\x00\x80\x7f\x00\x00\x80\xff"),
        ("FP64", [2**53 + 1, 0.1], np.float64([2**53, 0.1]).tobytes()),
        ("BYTES", ["é", "a\0b"], b"\x02\0\0\0\xc3\xa9\x03\0\0\0a\0b"),
    ],
)
def test_values_become_little_endian_bytes(datatype: str, data: list[Any], expected: bytes) -> None:
    assert to_raw(data, layout(datatype, (2,)), "x", "w") == expected


@pytest.mark.parametrize(
    ("datatype", "data", "message"),
    [
        ("BOOL", [True, 1], r"w\[1\]: expected true or false, got 1"),
        ("INT32", [1, True], r"w\[1\]: expected an integer in \[-2147483648, 2147483647\] for INT32, got true"),
        ("INT32", [1.0, 1], r"w\[0\]: expected an integer .* got 1.0"),
        ("INT32", ["1", 1], r'w\[0\]: expected an integer .* got "1"'),
        ("INT32", [None, 1], r"w\[0\]: expected an integer .* got null"),
        ("INT32", [{}, 1], r"w\[0\]: expected an integer .* got an object"),
        ("INT32", [[1], {}], r"w\[1\]: expected an integer .* got an object"),
        ("UINT8", [1, 300], r"w\[1\]: expected an integer in \[0, 255\] for UINT8, got 300"),
        ("UINT8", [-1, 300], r"w\[0\]: expected an integer in \[0, 255\] for UINT8, got -1"),
        ("INT64", [2**63, 0], r"w\[0\]: expected an integer in \[-9223372036854775808, .* got 9223372036854775808"),
        ("UINT64", [1, 2.0**64], r"w\[1\]: expected an integer in .* got 1.8446744073709552e\+19"),
        ("FP32", [0, 1e39], r"w\[1\]: expected a number that FP32 can hold, got 1e\+39"),
        ("FP32", [0, "1"], r'w\[1\]: expected a number that FP32 can hold, got "1"'),
        ("FP64", [0, True], r"w\[1\]: expected a number that FP64 can hold, got true"),
        ("BYTES", ["a", 1], r"w\[1\]: expected a string, got 1"),
        ("BYTES", ["a"], r"w: expected 2 elements for shape \[2\], got 1"),
        ("INT32", [1, 2, 3], r"w: expected 2 elements for shape \[2\], got 3"),
        ("INT32", [], r"w: expected 2 elements for shape \[2\], got 0"),
        ("INT32", [[1], [[2, "x"]]], r"w: expected 2 elements for shape \[2\], got 3"),
    ],
)
def test_a_wrong_value_is_named(datatype: str, data: list[Any], message: str) -> None:
    with pytest.raises(GatewayError, match=f"^{message}$") as error:
        to_raw(data, layout(datatype, (2,)), "x", "w")
    assert error.value.http_status == 400


@pytest.mark.parametrize("count", [3, MAX_PACKED + 1])
def test_the_rules_hold_at_any_size(count: int) -> None:
    good = list(range(count))
    for datatype in ("INT32", "FP32"):
        made = layout(datatype, (count,))
        assert len(to_raw(good, made, "x", "w")) == made.size
        with pytest.raises(GatewayError, match=rf"w\[{count - 1}\]"):
            to_raw([*good[:-1], 2.0**200], made, "x", "w")


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_are_refused_with_tritons_words(datatype: str) -> None:
    for data in ([1.0], []):
        with pytest.raises(GatewayError) as error:
            to_raw(data, layout(datatype, (len(data),)), "INPUT0", "w")
        assert error.value.message == (
            f"receiving {datatype} data via JSON is not supported. Please use the binary data format for input INPUT0"
        )
    with pytest.raises(GatewayError, match=f"^sending {datatype} data via JSON is not supported"):
        to_json(b"\0\0", layout(datatype, (1,)), "OUTPUT0")


def test_nesting_is_flattened_in_row_order() -> None:
    assert flatten([[1, 2], [3, 4]]) == [1, 2, 3, 4]
    assert flatten([[[1], [2]], [[3]]]) == [1, 2, 3]
    assert flatten([1, [2, [3]], [], [[4, 5]]]) == [1, 2, 3, 4, 5]
    assert flatten([["ab"], "cd"]) == ["ab", "cd"]
    assert flatten([[{"a": 1}], [None]]) == [{"a": 1}, None]
    assert flatten([[], []]) == []


@pytest.mark.parametrize(
    ("datatype", "raw", "text"),
    [
        ("FP32", np.float32([0.1, 16777216, -0.0]).tobytes(), b"[0.1,16777216.0,-0.0]"),
        ("FP32", np.float32([np.nan, np.inf, -np.inf]).tobytes(), b"[NaN,Infinity,-Infinity]"),
        ("FP64", np.float64([1.5, np.nan, -np.inf]).tobytes(), b"[1.5,NaN,-Infinity]"),
        ("FP64", np.float64([0.1, 1e300, 5e-324]).tobytes(), b"[0.1,1e+300,5e-324]"),
        ("BOOL", b"\x00\x01\x02", b"[false,true,true]"),
        ("INT8", b"\xff\x00\x7f", b"[-1,0,127]"),
        ("BYTES", join_elements([b"h\xc3\xa9", b"", b"a\0b"]), '["hé","","a\\u0000b"]'.encode()),
        ("BYTES", join_elements([b"null", b"NaN", b'"']), b'["null","NaN","\\""]'),
    ],
)
def test_outputs_are_flat_json(datatype: str, raw: bytes, text: bytes) -> None:
    assert to_json(raw, layout(datatype, (1, 3)), "x") == text
    assert to_json(memoryview(b"-" + raw)[1:], layout(datatype, (1, 3)), "x") == text


def test_large_outputs_are_the_same_json() -> None:
    array = np.arange(MAX_PACKED + 1, dtype=np.float64)
    array[7] = np.nan
    text = to_json(array.tobytes(), layout("FP64", array.shape), "x")
    assert np.array_equal(np.array(loads(text)), array, equal_nan=True)
    flags = bytes([0, 1, 2]) * MAX_PACKED
    assert loads(to_json(flags, layout("BOOL", (len(flags),)), "x")) == [False, True, True] * MAX_PACKED


def test_bytes_that_are_no_text_ask_for_binary_data() -> None:
    with pytest.raises(GatewayError) as error:
        to_json(join_elements([b"a", b"\xff\xfe"]), layout("BYTES", (2,)), "OUT")
    assert error.value.http_status == 400
    assert error.value.message == "output 'OUT' element 1 is not UTF-8; ask for binary_data"


@pytest.mark.parametrize(
    ("datatype", "raw"), [("INT32", b"12345"), ("FP32", b""), ("BYTES", b"\x05\0\0\0a"), ("BYTES", b"\0\0\0\0")]
)
def test_a_worker_whose_bytes_do_not_fit_is_at_fault(datatype: str, raw: bytes) -> None:
    with pytest.raises(GatewayError, match="the worker's output 'OUT'") as error:
        to_json(raw, layout(datatype, (2,)), "OUT")
    assert (error.value.http_status, error.value.fault, error.value.executed) == (502, Fault.WORKER, True)
