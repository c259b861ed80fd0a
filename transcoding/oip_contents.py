"""`InferTensorContents`, the typed alternative to raw bytes in the Open Inference Protocol's protobuf.

Fields: bool 1, int (8 to 32 bits) 2, int64 3, uint (8 to 32 bits) 4, uint64 5, fp32 6, fp64 7, bytes 8. FP16 and BF16
have none. Repeated numbers come packed or one by one; a parser takes both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from transcoding.message import Buffer
from transcoding.protobuf_wire import WireError, fields, packed_varints, varint
from transcoding.status import invalid
from transcoding.tensor import DATATYPES, Datatype, join_elements

_NAMES = ("", "BOOL", "INT32", "INT64", "UINT32", "UINT64", "FP32", "FP64", "BYTES")
_FIELD = {name: number for number, name in enumerate(_NAMES)} | {"INT8": 2, "INT16": 2, "UINT8": 4, "UINT16": 4}
_FIXED = {6: 4, 7: 8}  # bytes of an element


def to_raw(contents: Buffer, datatype: str, name: str) -> bytes:
    """The raw bytes of the tensor `name`. Raises GatewayError (400) with Triton's text when the contents are of another
    datatype, and one of `protobuf_wire.MALFORMED`."""
    number = _FIELD.get(datatype)
    chunks: list[Buffer] = []
    for tag, value in fields(contents):
        found = tag >> 3
        if not _is_known(tag, value):
            continue
        if found != number:
            raise invalid(
                f"unexpected explicit tensor data for input tensor '{name}' of type '{_NAMES[found]}', "
                f"expected datatype '{datatype}'"
            )
        chunks.append(varint(value) if tag & 7 == 0 else value)
    if number is None or not chunks:
        return b""
    return _raw(chunks, DATATYPES[datatype], name)


def _is_known(tag: int, value: Any) -> bool:
    number, wire_type = tag >> 3, tag & 7
    if wire_type == 2 and 1 <= number <= 8:
        return number == 8 or len(value) > 0
    if number in _FIXED:
        return wire_type == (5 if number == 6 else 1)
    return wire_type == 0 and 1 <= number <= 5


def _raw(chunks: list[Buffer], datatype: Datatype, name: str) -> bytes:
    if datatype.code == "s":
        return join_elements(map(bytes, chunks))
    if datatype.code in "fd":
        if any(len(chunk) % datatype.size for chunk in chunks):
            raise WireError("packed floats that are cut off")
        return b"".join(chunks)
    values = np.concatenate([packed_varints(chunk) for chunk in chunks])
    if datatype.code == "?":
        return bytes((values != 0).tolist())
    if datatype.size == 8:
        return values.tobytes()
    return _narrow(values, datatype, name)


def _narrow(values: np.ndarray[Any, np.dtype[np.uint64]], datatype: Datatype, name: str) -> bytes:
    """32-bit fields keep the low 32 bits of their varint, as protobuf says; 8 and 16 bits are checked."""
    words = values.astype(np.uint32)
    numbers = words if datatype.low == 0 else words.view(np.int32)
    outside = np.flatnonzero((numbers < datatype.low) | (numbers > datatype.high))
    if len(outside):
        index = int(outside[0])
        raise invalid(
            f"input '{name}' element {index}: expected an integer in [{datatype.low}, {datatype.high}] "
            f"for {datatype.name}, got {int(numbers[index])}"
        )
    return numbers.astype(f"<{datatype.code}").tobytes()
