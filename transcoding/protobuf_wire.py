"""The protobuf wire format by hand: varints, tags, length-delimited fields.

https://protobuf.dev/programming-guides/encoding/. Positions are byte offsets into a `bytes` or a memoryview of format
"B". Functions that read raise `WireError` or IndexError at the end of the buffer, for which each decoder catches
`MALFORMED` at its own door: a bounds check per byte would cost a third of the scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from transcoding.message import Buffer

VARINT, FIXED64, DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)
MAX_GROUP_DEPTH = 100  # the limit of the common protobuf parsers
MAX_FIELDS = 16384  # of one message: a field can be two bytes, and a megabyte of them would hold up everyone else
FIELD_BUDGET = range(MAX_FIELDS + 1)


class WireError(ValueError):
    """Bytes that are no protobuf message."""


MALFORMED = (WireError, IndexError, UnicodeDecodeError)


@lru_cache(maxsize=4096)
def varint(value: int) -> bytes:
    """An unsigned value, or a negative one as the 64 bits of its two's complement."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(tag: int, payload: bytes) -> bytes:
    """A whole length-delimited field; `tag` is one byte: the field number << 3 | 2."""
    return bytes((tag,)) + varint(len(payload)) + payload


def text(tag: int, value: str) -> bytes:
    """A string field, or nothing for "", the default that proto3 leaves out."""
    return delimited(tag, value.encode()) if value else b""


def read_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """The unsigned 64-bit value at `position`, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise WireError("a varint longer than 10 bytes")


def read_tag(buffer: Buffer, position: int) -> tuple[int, int]:
    """The tag at `position` (field number << 3 | wire type), and where it ends."""
    start = position
    tag, position = read_varint(buffer, position)
    if tag < 8 or tag > 0xFFFF_FFFF or position - start > 5:
        raise WireError(f"an impossible tag {tag}")
    return tag, position


def skip(buffer: Buffer, tag: int, position: int, depth: int = 0) -> int:
    """Where the value that begins at `position` ends. It may lie behind the buffer's end: the caller compares."""
    wire_type = tag & 7
    if wire_type == DELIMITED:
        length, position = read_varint(buffer, position)
        return position + length
    if wire_type == VARINT:
        return read_varint(buffer, position)[1]
    if wire_type == FIXED64:
        return position + 8
    if wire_type == FIXED32:
        return position + 4
    if wire_type == START_GROUP and depth < MAX_GROUP_DEPTH:
        return _skip_group(buffer, tag, position, depth + 1)
    raise WireError(f"an impossible wire type {wire_type}")


def _skip_group(buffer: Buffer, group: int, position: int, depth: int) -> int:
    while True:
        tag, position = read_tag(buffer, position)
        if tag & 7 == END_GROUP:
            if tag != group + 1:
                raise WireError("a group ends that did not begin")
            return position
        position = skip(buffer, tag, position, depth)


def fields(buffer: Buffer) -> Iterator[tuple[int, Any]]:
    """(tag, value) of each field in order: an int for varints, a slice of the buffer for the others. Groups, which no
    message here has, are checked and left out. Raises one of `MALFORMED`."""
    position, end = 0, len(buffer)
    for _ in FIELD_BUDGET:
        if position >= end:
            return
        tag, start = read_tag(buffer, position)
        wire_type = tag & 7
        if wire_type == VARINT:
            value, position = read_varint(buffer, start)
            yield tag, value
            continue
        if wire_type == DELIMITED:
            length, start = read_varint(buffer, start)
            position = start + length
        else:
            position = skip(buffer, tag, start)
        if position > end:
            raise WireError("a field that is cut off")
        if wire_type != START_GROUP:
            yield tag, buffer[start:position]
    raise WireError(f"more than {MAX_FIELDS} fields")


def signed(value: int) -> int:
    """The int64 of an unsigned varint."""
    return value - 2**64 if value >= 2**63 else value


def packed_varints(values: Buffer) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The uint64 values of a packed field, decoded by numpy column by column. Raises WireError."""
    data = np.frombuffer(values, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        raise WireError("a varint that is cut off")
    starts = np.concatenate((np.zeros(min(1, len(ends)), np.int64), ends[:-1] + 1))
    lengths = ends - starts + 1
    result = np.zeros(len(ends), np.uint64)
    for column in range(int(lengths.max(initial=0))):
        if column == 10:
            raise WireError("a varint longer than 10 bytes")
        rows = np.flatnonzero(lengths > column)
        bits = (data[starts[rows] + column] & 0x7F).astype(np.uint64)
        result[rows] |= bits << np.uint64(7 * column)
    return result
