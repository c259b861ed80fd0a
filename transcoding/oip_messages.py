"""ModelInferRequest and ModelInferResponse taken apart: their fields, tensors described but not yet joined with their
data.

The two messages share fields 1 to 5 (grpc_service.proto of Triton's `common` repository). Descriptions of tensors
repeat byte for byte from call to call: short ones are looked up, which is several times cheaper than to parse them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from transcoding.message import Buffer, Parameters, RequestedOutput
from transcoding.oip_parameters import decode_entry, require_value
from transcoding.protobuf_wire import (
    FIELD_BUDGET,
    WireError,
    fields,
    packed_varints,
    read_tag,
    read_varint,
    skip,
    varint,
)

# All fields of both are length-delimited.
MODEL, VERSION, ID, PARAMETERS, TENSOR, OUTPUT, RAW_INPUT = 0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A
RAW_OUTPUT = OUTPUT  # field 6 of the response
KNOWN = frozenset((MODEL, VERSION, ID, PARAMETERS, TENSOR, OUTPUT, RAW_INPUT))

LARGE = 8192  # bytes from which a tensor is handed on as a view instead of being copied
CACHED = 256  # bytes of a tensor's description that is looked up rather than parsed


class Described(NamedTuple):
    """An InferInputTensor or InferOutputTensor; `contents` are typed data, from senders that use no raw bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Parameters | None
    contents: Buffer | None


def _parse_tensor(message: Buffer) -> Described:
    name = datatype = ""
    dimensions: list[bytes] = []
    parameters: Parameters = {}
    contents: list[Buffer] = []
    for tag, value in fields(message):
        if tag == 0x0A:
            name = str(value, "utf-8")
        elif tag == 0x12:
            datatype = str(value, "utf-8")
        elif tag == 0x1A:
            dimensions.append(bytes(value))
        elif tag == 0x18:
            dimensions.append(varint(value))
        elif tag == 0x22:
            key, parameter = decode_entry(value)
            parameters[key] = require_value(key, parameter)
        elif tag == 0x2A:
            contents.append(value)
    shape = tuple(packed_varints(b"".join(dimensions)).astype("<i8").tolist())
    return Described(name, datatype, shape, parameters or None, b"".join(contents) if contents else None)


parse_repeated = lru_cache(maxsize=4096)(_parse_tensor)


class Parsed(NamedTuple):
    """The fields of a ModelInferRequest or ModelInferResponse, tensors and raw contents not yet put together."""

    model: str
    version: str
    id: str
    parameters: Parameters | None
    tensors: list[Described]
    outputs: list[RequestedOutput]
    raw: list[Buffer]


def parse(message: Buffer, raw_tag: int) -> Parsed:
    """All top-level fields. Raises one of `protobuf_wire.MALFORMED`."""
    model = version = identifier = ""
    parameters: Parameters = {}
    tensors: list[Described] = []
    outputs: list[RequestedOutput] = []
    raw: list[Buffer] = []
    position, end = 0, len(message)
    for _ in FIELD_BUDGET:
        if position >= end:
            break
        tag = message[position]
        length = message[position + 1]
        start = position + 2
        if length > 0x7F or tag not in KNOWN:
            tag, start = read_tag(message, position)
            if tag & 7 != 2:
                position = skip(message, tag, start)
                continue
            length, start = read_varint(message, start)
        position = start + length
        if position > end:
            break
        if tag == TENSOR:
            described = message[start:position]
            tensors.append(parse_repeated(bytes(described)) if length <= CACHED else _parse_tensor(described))
        elif tag == raw_tag:
            raw.append(message[start:position] if length < LARGE else memoryview(message)[start:position])
        elif tag == MODEL:
            model = str(message[start:position], "utf-8")
        elif tag == VERSION:
            version = str(message[start:position], "utf-8")
        elif tag == ID:
            identifier = str(message[start:position], "utf-8")
        elif tag == PARAMETERS:
            name, value = decode_entry(message[start:position])
            parameters[name] = require_value(name, value)
        elif tag == OUTPUT:
            outputs.append(_parse_output(message[start:position]))
    if position != end:
        raise WireError("a field that is cut off, or too many of them")
    return Parsed(model, version, identifier, parameters or None, tensors, outputs, raw)


def _parse_output(message: Buffer) -> RequestedOutput:
    name, parameters = "", {}
    for tag, value in fields(message):
        if tag == 0x0A:
            name = str(value, "utf-8")
        elif tag == 0x12:
            key, parameter = decode_entry(value)
            parameters[key] = require_value(key, parameter)
    return RequestedOutput(name, parameters or None)
