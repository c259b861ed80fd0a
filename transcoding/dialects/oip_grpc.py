"""The Open Inference Protocol as protobuf: `inference.ModelInferRequest` and `inference.ModelInferResponse`.

Hand-written on the wire, because a request of this gateway spends its time here; tests hold it to
`tritonclient.grpc.service_pb2` in both directions. What a model repeats from call to call (its name, the names,
datatypes and shapes of its tensors) is looked up by its bytes and not parsed again. Tensors always travel as raw bytes,
large ones uncopied in both directions.
"""

from __future__ import annotations

from functools import lru_cache

from transcoding import oip_contents, reply_known
from transcoding.message import Buffer, InferReply, InferRequest, Parameters, Tensor
from transcoding.oip_envelope import (
    Envelope,
    StreamEnvelope,
    append_bool_parameter,
    append_parameter,
    encode_stream_error,
    scan_request,
    scan_stream_reply,
    set_target,
    set_version,
    worker_malformed,
)
from transcoding.oip_messages import (
    CACHED,
    ID,
    LARGE,
    MODEL,
    OUTPUT,
    PARAMETERS,
    RAW_INPUT,
    RAW_OUTPUT,
    TENSOR,
    VERSION,
    Described,
    Parsed,
    parse,
)
from transcoding.oip_parameters import encode_entry
from transcoding.protobuf_wire import MALFORMED, WireError, delimited, fields, text, varint
from transcoding.status import GatewayError, invalid

__all__ = [
    "Envelope",
    "StreamEnvelope",
    "append_bool_parameter",
    "append_parameter",
    "decode_reply",
    "decode_request",
    "decode_stream_reply",
    "encode_reply",
    "encode_request",
    "encode_stream_error",
    "scan_request",
    "scan_stream_reply",
    "set_target",
    "set_version",
]


_FROM_CLIENT = "the message is not a ModelInferRequest: malformed protobuf"


def encode_request(request: InferRequest) -> list[Buffer]:
    """The buffers of a ModelInferRequest, to be joined or written one after the other."""
    parts: list[Buffer] = [_encode_head(request.model, request.version)]
    if request.id:
        parts.append(text(ID, request.id))
    if request.parameters:
        parts += [encode_entry(PARAMETERS, name, value) for name, value in request.parameters.items()]
    inputs = request.inputs
    for tensor in inputs:
        parts.append(_encode_tensor(tensor.name, tensor.datatype, tensor.shape, tensor.parameters))
    for output in request.outputs:
        parts.append(_encode_output(output.name, output.parameters))
    return _append_raw(parts, inputs, b"\x3a")


def encode_reply(reply: InferReply) -> list[Buffer]:
    """The buffers of a ModelInferResponse. An output that has no data of its own, since it went to shared memory, has
    an empty entry, as in Triton."""
    parts: list[Buffer] = [_encode_head(reply.model, reply.version)]
    if reply.id:
        parts.append(text(ID, reply.id))
    if reply.parameters:
        parts += [encode_entry(PARAMETERS, name, value) for name, value in reply.parameters.items()]
    for tensor in reply.outputs:
        parts.append(_encode_tensor(tensor.name, tensor.datatype, tensor.shape, tensor.parameters))
    outputs = [t if t.data is not None else Tensor(t.name, t.datatype, t.shape, b"") for t in reply.outputs]
    return _append_raw(parts, outputs, b"\x32")


def _append_raw(parts: list[Buffer], tensors: list[Tensor], tag: bytes) -> list[Buffer]:
    buffers: list[Buffer] = []
    for tensor in tensors:
        data = tensor.data
        if data is None:
            continue
        size = len(data)
        parts += (tag, varint(size))
        if size < LARGE:
            parts.append(data)
        else:
            buffers += (b"".join(parts), data)
            parts = []
    if parts:
        buffers.append(b"".join(parts))
    return buffers


@lru_cache(maxsize=1024)
def _encode_head(model: str, version: str) -> bytes:
    return text(MODEL, model) + text(VERSION, version)


def _encode_tensor(name: str, datatype: str, shape: tuple[int, ...], parameters: Parameters | None) -> bytes:
    if not parameters and len(name) <= CACHED:
        return _encode_plain_tensor(name, datatype, shape)
    entries = [encode_entry(PARAMETERS, key, value) for key, value in (parameters or {}).items()]
    return delimited(TENSOR, _describe(name, datatype, shape) + b"".join(entries))


@lru_cache(maxsize=4096)
def _encode_plain_tensor(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    return delimited(TENSOR, _describe(name, datatype, shape))


def _describe(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    dimensions = b"".join(map(varint, shape))
    return text(0x0A, name) + text(0x12, datatype) + (delimited(0x1A, dimensions) if dimensions else b"")


def _encode_output(name: str, parameters: Parameters | None) -> bytes:
    entries = [encode_entry(0x12, key, value) for key, value in (parameters or {}).items()]
    return delimited(OUTPUT, text(0x0A, name) + b"".join(entries))


def decode_request(message: Buffer) -> InferRequest:
    """The hub's form of a ModelInferRequest, typed contents turned into raw bytes. Raises GatewayError (400)."""
    try:
        parsed = parse(message, RAW_INPUT)
        inputs = _pair_inputs(parsed)
    except MALFORMED:
        raise invalid(_FROM_CLIENT) from None
    return InferRequest(parsed.model, parsed.version, parsed.id, parsed.parameters, inputs, parsed.outputs)


def _pair_inputs(parsed: Parsed) -> list[Tensor]:
    """Raw contents are positional over the inputs that are not in shared memory; entries beyond those are ignored, as
    in Triton."""
    inputs = []
    raw = iter(parsed.raw)
    for name, datatype, shape, parameters, contents in parsed.tensors:
        data: Buffer | None = None
        if parsed.raw and contents is not None:
            raise invalid(
                f"contents field must not be specified when using raw_input_contents for '{name}' "
                f"for model '{parsed.model}'"
            )
        if contents is not None:
            data = oip_contents.to_raw(contents, datatype, name)
        elif not parameters or "shared_memory_region" not in parameters:
            data = next(raw, None)
        if data is None and not (parameters and "shared_memory_region" in parameters):
            raise invalid(f"unable to find data for input tensor '{name}' for model '{parsed.model}' in request.")
        inputs.append(Tensor(name, datatype, shape, data, dict(parameters) if parameters else None))
    return inputs


def decode_reply(message: Buffer) -> InferReply:
    """The hub's form of a worker's ModelInferResponse. Raises GatewayError (HTTP 502, the worker's fault)."""
    if type(message) is bytes and len(message) <= reply_known.LARGEST:
        known = reply_known.decode(message)
        if known is not None:
            return known
        reply = _decode_reply(message)
        reply_known.learn(message, reply, _decode_reply)
        return reply
    return _decode_reply(message)


def _decode_reply(message: Buffer) -> InferReply:
    try:
        model, version, identifier, parameters, tensors, _, raw = parse(message, RAW_OUTPUT)
        outputs = _pair_outputs(tensors, raw)
    except MALFORMED:
        raise worker_malformed("ModelInferResponse") from None
    return InferReply(model, version, identifier, parameters, outputs)


def _pair_outputs(tensors: list[Described], raw: list[Buffer]) -> list[Tensor]:
    if len(raw) != len(tensors):
        if raw:
            raise WireError("raw contents do not match the outputs")
        return [_typed_output(tensor) for tensor in tensors]
    outputs = []
    contents = iter(raw)  # as many as tensors; zip with strict costs 0.2 us
    for name, datatype, shape, parameters, _ in tensors:
        outputs.append(Tensor(name, datatype, shape, next(contents), parameters and dict(parameters)))
    return outputs


def _typed_output(described: Described) -> Tensor:
    name, datatype, shape, parameters, contents = described
    try:
        data = oip_contents.to_raw(contents or b"", datatype, name)
    except GatewayError as error:
        raise WireError(error.message) from None
    return Tensor(name, datatype, shape, data, dict(parameters) if parameters else None)


def decode_stream_reply(message: Buffer) -> tuple[str, InferReply | None]:
    """(error_message, reply) of a worker's ModelStreamInferResponse; the reply is None beside an error. Raises
    GatewayError (HTTP 502)."""
    error = ""
    parts: list[Buffer] = []
    try:
        for tag, value in fields(message):
            if tag == 0x0A:
                error = str(value, "utf-8")
            elif tag == 0x12:
                parts.append(value)
    except MALFORMED:
        raise worker_malformed("ModelStreamInferResponse") from None
    if error:
        return error, None
    return "", decode_reply(parts[0] if len(parts) == 1 else b"".join(parts))
