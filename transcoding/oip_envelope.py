"""What routing needs of a gRPC inference message, read from the wire without parsing a tensor.

Inputs and raw contents are skipped by their length, so the cost does not grow with them. The scan agrees with a full
protobuf parser on model name, version, id and parameters of every valid message, whatever the order of the fields; it
does not notice bytes inside of a tensor that are malformed.
"""

from __future__ import annotations

from functools import lru_cache

from transcoding.message import Buffer, Parameter, Parameters
from transcoding.oip_messages import ID, KNOWN, MODEL, PARAMETERS, RAW_INPUT, TENSOR, VERSION
from transcoding.oip_parameters import decode_entry, encode_entry
from transcoding.protobuf_wire import (
    FIELD_BUDGET,
    MALFORMED,
    WireError,
    delimited,
    fields,
    read_tag,
    read_varint,
    skip,
    text,
)
from transcoding.status import Code, Fault, GatewayError, invalid

_SKIPPED = (TENSOR, RAW_INPUT)
_NO_PARAMETERS: Parameters = {}


class Envelope:
    """A ModelInferRequest without its tensors. `sequence_id` is None when the request belongs to no sequence;
    `classified` names the outputs for which the classification extension is asked."""

    __slots__ = ("classified", "id", "model", "parameters", "version")

    def __init__(self) -> None:
        self.model = ""
        self.version = ""
        self.id = ""
        self.parameters: Parameters = _NO_PARAMETERS
        self.classified: tuple[str, ...] = ()

    @property
    def has_parameters(self) -> bool:
        return bool(self.parameters)

    @property
    def sequence_id(self) -> int | str | None:
        """An unsigned 64-bit integer or a text; 0 and "" mean no sequence, as in Triton."""
        value = self.parameters.get("sequence_id")
        return value if value and isinstance(value, int | str) else None

    @property
    def sequence_start(self) -> bool:
        return self.parameters.get("sequence_start") is True

    @property
    def sequence_end(self) -> bool:
        return self.parameters.get("sequence_end") is True

    @property
    def wants_empty_final(self) -> bool:
        return self.parameters.get("triton_enable_empty_final_response") is True

    def __repr__(self) -> str:
        return f"Envelope({self.model!r}, version={self.version!r}, id={self.id!r}, parameters={self.parameters!r})"


class StreamEnvelope:
    """A ModelStreamInferResponse without its tensors. `final` is its `triton_final_response`, `empty` tells that it has
    no outputs: both together are the bare end mark that a client sees only when it asked for it."""

    __slots__ = ("empty", "error_message", "final", "id", "model", "version")

    def __init__(self) -> None:
        self.error_message = ""
        self.id = ""
        self.model = ""
        self.version = ""
        self.final = False
        self.empty = True


def scan_request(message: Buffer) -> Envelope:
    """The envelope of a ModelInferRequest. Raises GatewayError (INVALID_ARGUMENT) when the wire is malformed, where
    Triton says INTERNAL."""
    envelope = Envelope()
    try:
        _scan_request(message, envelope)
    except MALFORMED:
        raise invalid("the message is not a ModelInferRequest: malformed protobuf") from None
    return envelope


def _scan_request(message: Buffer, envelope: Envelope) -> None:
    classified: list[str] = []
    position, end = 0, len(message)
    for _ in FIELD_BUDGET:
        if position >= end:
            break
        tag = message[position]
        length = message[position + 1]
        start = position + 2
        if length > 0x7F or tag not in KNOWN:
            tag, start = read_tag(message, position)
            if tag not in KNOWN:
                position = skip(message, tag, start)
                continue
            length, start = read_varint(message, start)
        position = start + length
        if tag in _SKIPPED:
            continue
        if position > end:
            break
        if tag == MODEL:
            envelope.model = str(message[start:position], "utf-8")
        elif tag == VERSION:
            envelope.version = str(message[start:position], "utf-8")
        elif tag == ID:
            envelope.id = str(message[start:position], "utf-8")
        elif tag == PARAMETERS:
            _add_parameter(envelope, message[start:position])
        else:
            _note_classification(classified, message[start:position])
    if position != end:
        raise WireError("a field that is cut off, or too many of them")
    if classified:
        envelope.classified = tuple(classified)


def _add_parameter(envelope: Envelope, entry: Buffer) -> None:
    name, value = decode_entry(entry)
    if envelope.parameters is _NO_PARAMETERS:
        envelope.parameters = {}
    if value is None:  # a later entry replaces an earlier one, be it empty
        envelope.parameters.pop(name, None)
    else:
        envelope.parameters[name] = value


def _note_classification(names: list[str], output: Buffer) -> None:
    if b"classification" not in bytes(output):
        return
    name, classified = "", False
    for tag, value in fields(output):
        if tag == 0x0A:
            name = str(value, "utf-8")
        elif tag == 0x12:
            classified = classified or decode_entry(value)[0] == "classification"
    if classified:
        names.append(name)


def scan_stream_reply(message: Buffer) -> StreamEnvelope:
    """The envelope of a worker's ModelStreamInferResponse. Raises GatewayError (HTTP 502) when it is malformed."""
    envelope = StreamEnvelope()
    try:
        for tag, value in fields(message):
            if tag == 0x0A:
                envelope.error_message = str(value, "utf-8")
            elif tag == 0x12:
                _scan_reply(value, envelope)
    except MALFORMED:
        raise worker_malformed("ModelStreamInferResponse") from None
    return envelope


def _scan_reply(reply: Buffer, envelope: StreamEnvelope) -> None:
    for tag, value in fields(reply):
        if tag == TENSOR:
            envelope.empty = False
        elif tag == PARAMETERS:
            name, parameter = decode_entry(value)
            if name == "triton_final_response":
                envelope.final = parameter is True
        elif tag == MODEL:
            envelope.model = str(value, "utf-8")
        elif tag == VERSION:
            envelope.version = str(value, "utf-8")
        elif tag == ID:
            envelope.id = str(value, "utf-8")


def worker_malformed(what: str) -> GatewayError:
    """The worker's bytes are no message: its fault, HTTP 502."""
    message = f"the worker's answer is not a {what}: malformed protobuf"
    return GatewayError(Code.INTERNAL, message, http_status=502, fault=Fault.WORKER, executed=True)


def set_version(message: Buffer, version: str) -> list[Buffer]:
    """The message with another model version, its bytes untouched: of a singular field the last value wins."""
    return [message, _version_field(version)]


def set_target(message: Buffer, model: str, version: str) -> list[Buffer]:
    """The message for another model, or the same where `model` is "", and for this version: see `set_version`."""
    if not model:
        return [message, _version_field(version)]
    return [message, _model_field(model) + _version_field(version)]


@lru_cache(maxsize=1024)
def _model_field(model: str) -> bytes:
    return delimited(MODEL, model.encode())


@lru_cache(maxsize=1024)
def _version_field(version: str) -> bytes:
    return delimited(VERSION, version.encode())  # "" too: it must replace what the client wrote


def append_bool_parameter(name: str, value: bool) -> bytes:
    """The bytes that set a boolean request parameter when they are appended to a ModelInferRequest."""
    return append_parameter(name, value)


def append_parameter(name: str, value: Parameter) -> bytes:
    """The bytes that set a request parameter when they are appended to a ModelInferRequest."""
    return encode_entry(PARAMETERS, name, value)


def encode_stream_error(message: str, request_id: str = "") -> bytes:
    """A ModelStreamInferResponse that tells an error in-band, as Triton does before a request runs: the reply inside
    has the request's id and nothing else."""
    return text(0x0A, message) + delimited(0x12, text(ID, request_id))
