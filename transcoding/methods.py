"""The gRPC methods that a listener serves: what each does, who may answer it, and where its request names a model.

Field numbers are those of `grpc_service.proto` (package `inference`), whose twenty methods these are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from transcoding.message import Buffer
from transcoding.status import GatewayError, invalid

ApiClass = Literal["inference", "metadata", "statistics", "repository", "trace", "logging", "shared_memory"]

Kind = Literal["infer", "stream", "model", "server", "health", "reflection"]
"""`infer` and `stream` carry tensors; `model` is about one model, or about all where its request names none; `server`
is about the server; `health` and `reflection` are gRPC's own services."""

Answer = Literal["gateway", "any", "merge", "broadcast"]
"""Who answers: the gateway itself; any endpoint where the model is ready; all endpoints, merged into one reply by
`transcoding.aggregate`; or all endpoints of the pool, for a change that each of them must make."""

SERVICE = "inference.GRPCInferenceService"
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Method:
    """One gRPC method. `model_field` and `version_field` number the request's fields that name them, 0 for none.

    `update_field` numbers a field whose presence turns a question that any endpoint may answer into a change that all
    must make (`settings` of TraceSetting and LogSettings). `unknown_reply` is the OK reply that stands for "no such
    model" where Triton 2.51 answers so, and newer ones with an error.
    """

    name: str
    api: ApiClass
    kind: Kind
    answer: Answer
    model_field: int = 0
    version_field: int = 0
    update_field: int = 0
    service: str = SERVICE
    unknown_reply: bytes | None = None
    path: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", f"/{self.service}/{self.name}".encode())

    def target(self, message: Buffer) -> tuple[str, str]:
        """The model and version that this request names, "" for none. Raises `GatewayError` as `string_fields` does."""
        if not self.model_field:
            return "", ""
        if not self.version_field:
            return string_fields(message, self.model_field)[0], ""
        model, version = string_fields(message, self.model_field, self.version_field)
        return model, version

    def answer_for(self, message: Buffer) -> Answer:
        """Who answers this request: `answer`, or "broadcast" when it changes settings."""
        if self.update_field and has_field(message, self.update_field):
            return "broadcast"
        return self.answer


def _health(name: str) -> Method:
    return Method(name, "metadata", "health", "gateway", service="grpc.health.v1.Health")


def _reflection(package: str) -> Method:
    service = f"{package}.ServerReflection"
    return Method("ServerReflectionInfo", "metadata", "reflection", "gateway", service=service)


_ALL = (
    Method("ServerLive", "metadata", "server", "gateway"),
    Method("ServerReady", "metadata", "server", "gateway"),
    Method("ServerMetadata", "metadata", "server", "any"),
    Method("ModelReady", "metadata", "model", "any", 1, 2, unknown_reply=b""),
    Method("ModelMetadata", "metadata", "model", "any", 1, 2),
    Method("ModelConfig", "metadata", "model", "any", 1, 2),
    Method("ModelStatistics", "statistics", "model", "merge", 1, 2),
    Method("ModelInfer", "inference", "infer", "any", 1, 2),
    Method("ModelStreamInfer", "inference", "stream", "any", 1, 2),
    Method("RepositoryIndex", "repository", "server", "merge"),
    Method("RepositoryModelLoad", "repository", "model", "broadcast", 2),
    Method("RepositoryModelUnload", "repository", "model", "broadcast", 2),
    Method("SystemSharedMemoryStatus", "shared_memory", "server", "merge"),
    Method("SystemSharedMemoryRegister", "shared_memory", "server", "broadcast"),
    Method("SystemSharedMemoryUnregister", "shared_memory", "server", "broadcast"),
    Method("CudaSharedMemoryStatus", "shared_memory", "server", "merge"),
    Method("CudaSharedMemoryRegister", "shared_memory", "server", "broadcast"),
    Method("CudaSharedMemoryUnregister", "shared_memory", "server", "broadcast"),
    Method("TraceSetting", "trace", "model", "any", 2, update_field=1),
    Method("LogSettings", "logging", "server", "any", update_field=1),
    _health("Check"),
    _health("Watch"),
    _reflection("grpc.reflection.v1"),
    _reflection("grpc.reflection.v1alpha"),
)

METHODS: dict[bytes, Method] = {method.path: method for method in _ALL}
"""By the `:path` of a request."""

BY_NAME: dict[str, Method] = {method.name: method for method in _ALL if method.service == SERVICE}
"""The methods of `inference.GRPCInferenceService` by their name."""


def string_fields(message: Buffer, *numbers: int) -> list[str]:
    """The string fields with these numbers in a protobuf message, "" where absent; the last of a repeated one counts.

    Raises `GatewayError` INVALID_ARGUMENT when the message is no protobuf, or a field is no UTF-8 string.
    """
    values = [""] * len(numbers)
    for number, wire_type, start, end in _fields(message):
        if number in numbers:
            if wire_type != _LENGTH:
                raise invalid(f"malformed protobuf message: field {number} is not a string")
            try:
                values[numbers.index(number)] = str(message[start:end], "utf-8")
            except UnicodeDecodeError:
                raise invalid(f"malformed protobuf message: field {number} is not UTF-8") from None
    return values


def has_field(message: Buffer, wanted: int) -> bool:
    """Whether a protobuf message has a field of this number. Raises as `string_fields` does."""
    return any(number == wanted for number, _, _, _ in _fields(message))


def _fields(message: Buffer) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, start, end) of each top-level field; nothing inside of fields is read."""
    position, size = 0, len(message)
    while position < size:
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        start = position
        if wire_type == _LENGTH:
            length, start = _varint(message, position)
            position = start + length
        elif wire_type == _VARINT:
            _, position = _varint(message, position)
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        else:
            raise _malformed()
        if number == 0 or position > size:
            raise _malformed()
        yield number, wire_type, start, position


def _varint(message: Buffer, position: int) -> tuple[int, int]:
    """A base-128 varint of at most ten bytes at `position`, and the position behind it."""
    value = 0
    for index, byte in enumerate(message[position : position + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise _malformed()


def _malformed() -> GatewayError:
    return invalid("malformed protobuf message")
