"""An inference reply without the id of its request, and that reply again with the id of another.

A ModelInferResponse repeats the id of the request (field 3 of it in grpc_service.proto of Triton's `common`
repository). Kept without it, the reply is one for all requests that ask the same; on the protobuf wire a field may
stand anywhere, so another id is put behind it.
"""

from __future__ import annotations

from typing import NamedTuple

from transcoding.grpc_framing import prefix
from transcoding.message import Buffer
from transcoding.oip_messages import ID, VERSION
from transcoding.protobuf_wire import DELIMITED, FIELD_BUDGET, MALFORMED, WireError, read_tag, read_varint, skip, text


class Kept(NamedTuple):
    """A reply without its id: the whole gRPC message with its 5-byte prefix, and the version that it names."""

    framed: bytes
    version: str


def without_id(message: Buffer) -> Kept | None:
    """The ModelInferResponse `message`, which has no prefix, to be kept; None if it is no whole protobuf message."""
    version, kept, begin = "", [], 0
    try:
        for tag, field, start, stop in _fields(message):
            if tag == VERSION:
                version = str(message[start:stop], "utf-8")
            elif tag == ID:
                kept.append(message[begin:field])
                begin = stop
    except MALFORMED:
        return None
    kept.append(message[begin:])
    return Kept(b"".join((prefix(sum(map(len, kept))), *kept)), version)


def with_id(framed: bytes, identifier: str) -> bytes:
    """What `without_id` kept, for the request with this id, "" for none."""
    if not identifier:
        return framed
    field = text(ID, identifier)
    return b"".join((prefix(len(framed) - 5 + len(field)), memoryview(framed)[5:], field))


def _fields(message: Buffer) -> list[tuple[int, int, int, int]]:
    """Tag, beginning, beginning of the value and end of each field."""
    found, position, end = [], 0, len(message)
    for _ in FIELD_BUDGET:
        if position >= end:
            break
        field = position
        tag, start = read_tag(message, position)
        if tag & 7 == DELIMITED:
            length, start = read_varint(message, start)
            position = start + length
        else:
            position = skip(message, tag, start)
        found.append((tag, field, start, position))
    if position != end:
        raise WireError("a field that is cut off, or too many of them")
    return found
