"""`map<string, InferParameter>` of the Open Inference Protocol's protobuf: one map entry to bytes and back.

`InferParameter` is a oneof: bool_param 1, int64_param 2, string_param 3, double_param 4, uint64_param 5. Triton reads a
`sequence_id` above 2^63 - 1 from int64_param as two's complement and refuses uint64_param for it; of the parameters it
knows only `priority` may be one.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from transcoding.message import Buffer, Parameter
from transcoding.protobuf_wire import WireError, delimited, fields, signed, varint
from transcoding.status import invalid

_CACHED_ENTRY = 96  # bytes; flags repeat, and longer entries are rare


def encode_entry(tag: int, name: str, value: Parameter) -> bytes:
    """One map entry as a field with this one-byte `tag`. Raises GatewayError for an integer beyond 64 bits."""
    if type(value) is bool:
        return _encode_flag(tag, name, value)
    return delimited(tag, delimited(0x0A, name.encode()) + delimited(0x12, _encode_value(name, value)))


@lru_cache(maxsize=256)
def _encode_flag(tag: int, name: str, value: bool) -> bytes:
    return delimited(tag, delimited(0x0A, name.encode()) + (b"\x12\x02\x08\x01" if value else b"\x12\x02\x08\x00"))


def _encode_value(name: str, value: Parameter) -> bytes:
    if isinstance(value, str):
        return delimited(0x1A, value.encode())
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    if -(2**63) <= value < 2**63 or (name == "sequence_id" and 0 <= value < 2**64):
        return b"\x10" + varint(value)
    if 0 <= value < 2**64:
        return b"\x28" + varint(value)
    raise invalid(f"parameters.{name}: expected an integer of at most 64 bits, got {value}")


def decode_entry(entry: Buffer) -> tuple[str, Parameter | None]:
    """(name, value) of a map entry; None when the oneof is empty. Raises one of `protobuf_wire.MALFORMED`."""
    return _decode_short(bytes(entry)) if len(entry) <= _CACHED_ENTRY else _decode(entry)


def _decode(entry: Buffer) -> tuple[str, Parameter | None]:
    name = ""
    values: list[Buffer] = []
    for tag, field in fields(entry):
        if tag == 0x0A:
            name = str(field, "utf-8")
        elif tag == 0x12:
            values.append(field)
    # A repeated message field merges, which is what its bytes do when joined.
    parameter = _decode_value(values[0] if len(values) == 1 else b"".join(values))
    if name == "sequence_id" and type(parameter) is int and parameter < 0:
        parameter += 2**64
    return name, parameter


_decode_short = lru_cache(maxsize=1024)(_decode)


def _decode_value(value: Buffer) -> Parameter | None:
    parameter: Parameter | None = None
    for tag, field in fields(value):
        if tag == 0x08:
            parameter = field != 0
        elif tag == 0x10:
            parameter = signed(field)
        elif tag == 0x1A:
            parameter = str(field, "utf-8")
        elif tag == 0x21:
            parameter = struct.unpack("<d", field)[0]
        elif tag == 0x28:
            parameter = int(field)
    return parameter


def require_value(name: str, value: Parameter | None) -> Parameter:
    """Raises WireError for an entry without a value, which no hub message can carry."""
    if value is None:
        raise WireError(f"parameter '{name}' has no value")
    return value
