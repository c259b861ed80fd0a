"""gRPC server reflection, v1 and v1alpha: what services there are and the .proto files that define them.

https://github.com/grpc/grpc/blob/master/doc/server-reflection.md. Both versions have the same wire format, so one
`Reflector` answers for both. What is not known is told inside of the stream (`error_response`), which goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import model_config_pb2, service_pb2

from transcoding.status import Code, GatewayError, invalid

SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
)


class Reflector:
    """Answers reflection requests about `services`, which are defined in `files` together with what those import."""

    def __init__(self, files: Iterable[FileDescriptorProto], services: Sequence[str]) -> None:
        self._files = {file.name: file for file in files}
        self._services = services
        self._defined_in = {symbol: file.name for file in self._files.values() for symbol in _symbols(file)}
        self._messages = {symbol for file in self._files.values() for symbol in _message_names(file)}
        self._extensions = {key: file.name for file in self._files.values() for key in _extensions(file)}

    def answer(self, request: bytes) -> bytes:
        """The `ServerReflectionResponse` to a `ServerReflectionRequest`.

        Raises `GatewayError` INVALID_ARGUMENT for bytes that are none.
        """
        try:
            question = reflection_pb2.ServerReflectionRequest.FromString(request)
        except DecodeError:
            raise invalid("malformed protobuf message") from None
        reply = reflection_pb2.ServerReflectionResponse(valid_host=question.host, original_request=question)
        try:
            self._fill(reply, question)
        except GatewayError as error:
            reply.error_response.error_code, reply.error_response.error_message = error.code, error.message
        message: bytes = reply.SerializeToString()
        return message

    def _fill(self, reply: Any, question: Any) -> None:
        kind = question.WhichOneof("message_request")
        if kind == "list_services":
            reply.list_services_response.SetInParent()
            for service in self._services:
                reply.list_services_response.service.add(name=service)
        elif kind == "file_by_filename":
            self._add_files(reply, question.file_by_filename, self._files)
        elif kind == "file_containing_symbol":
            self._add_files(reply, question.file_containing_symbol, self._defined_in)
        elif kind == "file_containing_extension":
            extension = question.file_containing_extension
            self._add_files(reply, (extension.containing_type, extension.extension_number), self._extensions)
        elif kind == "all_extension_numbers_of_type":
            self._add_extension_numbers(reply, question.all_extension_numbers_of_type)
        else:
            raise invalid("message_request: missing or unknown")

    def _add_files(self, reply: Any, key: Any, index: dict[Any, Any]) -> None:
        """The file that `index` has for `key`, and after it all files that it imports, each once."""
        found = index.get(key)
        if found is None:
            raise GatewayError(Code.NOT_FOUND, f"not found: {key}")
        names = [found if isinstance(found, str) else found.name]
        for name in names:
            names += [one for one in self._files[name].dependency if one in self._files and one not in names]
        reply.file_descriptor_response.file_descriptor_proto.extend(
            self._files[name].SerializeToString() for name in names
        )

    def _add_extension_numbers(self, reply: Any, message: str) -> None:
        if message not in self._messages:
            raise GatewayError(Code.NOT_FOUND, f"not found: {message}")
        numbers = sorted(number for extended, number in self._extensions if extended == message)
        reply.all_extension_numbers_response.base_type_name = message
        reply.all_extension_numbers_response.extension_number.extend(numbers)


@cache
def gateway_reflector() -> Reflector:
    """The reflector of everything that the gateway serves, for both versions of the protocol."""
    modules = (service_pb2, model_config_pb2, health_pb2, reflection_pb2)
    files = [FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in modules]
    return Reflector([*files, _stable_reflection(files[-1])], SERVICES)


def _stable_reflection(alpha: FileDescriptorProto) -> FileDescriptorProto:
    """The v1 file, which differs from v1alpha only in the package."""
    stable = FileDescriptorProto.FromString(alpha.SerializeToString())
    stable.name = alpha.name.replace("v1alpha", "v1")
    stable.package = alpha.package.replace("v1alpha", "v1")
    for message in stable.message_type:
        for field in (field for field in message.field if field.type_name):
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for service in stable.service:
        for method in service.method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return stable


def _symbols(file: FileDescriptorProto) -> Iterator[str]:
    """Full names of the services, methods, messages, enums, fields and extensions of a file."""
    prefix = _prefix(file.package)
    for service in file.service:
        yield prefix + service.name
        yield from (f"{prefix}{service.name}.{method.name}" for method in service.method)
    yield from (prefix + enum.name for enum in file.enum_type)
    yield from (prefix + extension.name for extension in file.extension)
    for name, message in _all_messages(file):
        yield name
        yield from (f"{name}.{field.name}" for field in message.field)
        yield from (f"{name}.{enum.name}" for enum in message.enum_type)
        yield from (f"{name}.{extension.name}" for extension in message.extension)


def _message_names(file: FileDescriptorProto) -> Iterator[str]:
    return (name for name, _ in _all_messages(file))


def _extensions(file: FileDescriptorProto) -> Iterator[tuple[str, int]]:
    """(extended message, field number) of each extension of a file."""
    for extension in file.extension:
        yield extension.extendee.lstrip("."), extension.number
    for _, message in _all_messages(file):
        yield from ((extension.extendee.lstrip("."), extension.number) for extension in message.extension)


def _all_messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    """(full name, message), nested ones included."""
    waiting = [(_prefix(file.package), message) for message in file.message_type]
    for prefix, message in waiting:
        name = prefix + message.name
        yield name, message
        waiting += [(f"{name}.", nested) for nested in message.nested_type]


def _prefix(package: str) -> str:
    return f"{package}." if package else ""
