"""Typed contents to raw bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from transcoding.oip_contents import to_raw
from transcoding.protobuf_wire import MALFORMED, varint
from transcoding.status import GatewayError

FIELDS = {
    "INT8": ("int_contents", "<i1"),
    "INT16": ("int_contents", "<i2"),
    "INT32": ("int_contents", "<i4"),
    "INT64": ("int64_contents", "<i8"),
    "UINT8": ("uint_contents", "<u1"),
    "UINT16": ("uint_contents", "<u2"),
    "UINT32": ("uint_contents", "<u4"),
    "UINT64": ("uint64_contents", "<u8"),
    "FP32": ("fp32_contents", "<f4"),
    "FP64": ("fp64_contents", "<f8"),
}


@given(st.sampled_from(sorted(FIELDS)), st.binary(max_size=80))
def test_numbers_become_their_raw_bytes(datatype: str, noise: bytes) -> None:
    field, code = FIELDS[datatype]
    size = np.dtype(code).itemsize
    array = np.frombuffer(noise[: len(noise) // size * size], code)
    wire = pb.InferTensorContents(**{field: array.tolist()}).SerializeToString()
    if not np.isnan(array.astype(np.float64)).any():
        assert to_raw(wire, datatype, "x") == array.tobytes()
        assert to_raw(memoryview(wire), datatype, "x") == array.tobytes()


def test_numbers_one_by_one_are_numbers_too() -> None:
    assert to_raw(b"\x10" + varint(-7) + b"\x12\x01\x05" + b"\x10\x01", "INT8", "x") == b"\xf9\x05\x01"
    assert to_raw(b"\x35\0\0\x80\x3f", "FP32", "x") == b"\0\0\x80\x3f"
    assert to_raw(b"\x08\x02\x08\x00", "BOOL", "x") == b"\x01\x00"


def test_a_32_bit_field_keeps_the_low_32_bits() -> None:
    wire = b"\x20" + varint(2**32 + 5)
    assert pb.InferTensorContents.FromString(wire).uint_contents == [5]
    assert to_raw(wire, "UINT32", "x") == b"\x05\0\0\0"


@pytest.mark.parametrize(
    ("contents", "datatype", "message"),
    [
        (
            {"int_contents": [1]},
            "FP32",
            "unexpected explicit tensor data for input tensor 'x' of type 'INT32', expected datatype 'FP32'",
        ),
        (
            {"fp32_contents": [1]},
            "FP16",
            "unexpected explicit tensor data for input tensor 'x' of type 'FP32', expected datatype 'FP16'",
        ),
        (
            {"int_contents": [1, 300]},
            "INT8",
            r"input 'x' element 1: expected an integer in \[-128, 127\] for INT8, got 300",
        ),
        ({"uint_contents": [2**16]}, "UINT16", "input 'x' element 0: .* got 65536"),
    ],
)
def test_contents_that_do_not_fit_are_refused(contents: dict[str, list[int]], datatype: str, message: str) -> None:
    with pytest.raises(GatewayError, match=f"^{message}$"):
        to_raw(pb.InferTensorContents(**contents).SerializeToString(), datatype, "x")


def test_nothing_is_no_bytes() -> None:
    assert to_raw(b"", "FP32", "x") == b""
    assert to_raw(b"\x32\x00", "INT8", "x") == b""
    assert to_raw(b"\x7a\x01x", "INT8", "x") == b""


@pytest.mark.parametrize("wire", [b"\x32\x03abc", b"\x12\x01\x80", b"\x32\x05a"])
def test_cut_off_contents_are_malformed(wire: bytes) -> None:
    with pytest.raises(MALFORMED):
        to_raw(wire, "FP32" if wire[0] == 0x32 else "INT32", "x")
