"""Frames (RFC 9113 §4 and §6): their constants, how they are packed, and the checks on their payloads."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from transcoding.http2.errors import ErrorCode, ProtocolError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
DEFAULT_MAX_FRAME = 16_384
LARGEST_MAX_FRAME = 2**24 - 1
LARGEST_ID = 2**31 - 1

# The frame header as three integers: length << 8 | type, flags, stream.
HEAD = struct.Struct(">IBI")
HEAD_SIZE = HEAD.size

_HEAD_AND_WORD = struct.Struct(">IBII")
_GOAWAY = struct.Struct(">IBIII")
_SETTING = struct.Struct(">HI")
_WORD = struct.Struct(">I")
_GOAWAY_BODY = struct.Struct(">II")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings_frame(values: Iterable[tuple[int, int]]) -> bytes:
    """SETTINGS with these identifiers and values."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values))


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return _HEAD_AND_WORD.pack(4 << 8 | WINDOW_UPDATE, 0, stream, increment)


def rst_stream(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return _HEAD_AND_WORD.pack(4 << 8 | RST_STREAM, 0, stream, code)


def goaway_frame(last: int, code: int, debug: bytes = b"") -> bytes:
    """GOAWAY: streams above `last` were not and will not be processed."""
    return _GOAWAY.pack((8 + len(debug)) << 8 | GOAWAY, 0, 0, last, code) + debug


def ping_frame(payload: bytes, ack: bool = False) -> bytes:
    """PING with its 8 bytes."""
    return frame(PING, ACK if ack else 0, 0, payload)


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def word(payload: bytes, what: str) -> int:
    """The one 32-bit number of a RST_STREAM or WINDOW_UPDATE. Raises ProtocolError for another length."""
    if len(payload) != 4:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"{what}: expected 4 bytes, got {len(payload)}")
    return int(_WORD.unpack(payload)[0])


def parse_goaway(payload: bytes) -> tuple[int, int, bytes]:
    """Last stream id, error code and debug data. Raises ProtocolError when too short."""
    if len(payload) < 8:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY: expected 8 bytes or more, got {len(payload)}")
    last, code = _GOAWAY_BODY.unpack_from(payload)
    return last & LARGEST_ID, code, payload[8:]


def parse_settings(payload: bytes) -> dict[int, int]:
    """Identifier to value, the last one where an identifier repeats. Raises ProtocolError for bad lengths and values.

    Only the final value of a repeated setting takes effect, so that one frame costs one pass over the open streams.
    """
    if len(payload) % 6:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS: {len(payload)} bytes are no multiple of 6")
    values: dict[int, int] = {}
    for name, value in _SETTING.iter_unpack(payload):
        if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE {value}")
        if name == MAX_FRAME_SIZE and not DEFAULT_MAX_FRAME <= value <= LARGEST_MAX_FRAME:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE {value}")
        if name == ENABLE_PUSH and value > 1:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH {value}")
        values[name] = value
    return values


def unpad(flags: int, payload: bytes) -> bytes:
    """What is left of a DATA or HEADERS payload without its padding. Raises ProtocolError when that does not fit."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "padded frame without a pad length")
    end = len(payload) - payload[0]
    if end < 1:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "padding as long as the frame or longer")
    return payload[1:end]


def header_fragment(flags: int, payload: bytes) -> bytes:
    """The header block fragment of a HEADERS payload, without padding and priority (RFC 9113 §6.2)."""
    payload = unpad(flags, payload)
    if not flags & WITH_PRIORITY:
        return payload
    if len(payload) < 5:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS with priority shorter than 5 bytes")
    return payload[5:]
