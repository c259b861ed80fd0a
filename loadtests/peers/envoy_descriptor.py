"""The descriptor set that Envoy's gRPC-JSON transcoder needs: Triton's service with an HTTP rule on ModelInfer.

Triton's published protocol carries no `google.api.http` annotations, so the rule is added here, as bytes of the
extension field, to the descriptors that tritonclient ships. Envoy knows the extension itself.
Source: google/api/annotations.proto and http.proto (googleapis); grpc_json_transcoder in Envoy's documentation.
"""

from __future__ import annotations

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, MethodOptions
from tritonclient.grpc import service_pb2

SERVICE = "inference.GRPCInferenceService"
INFER_PATH = "/v2/models/{model_name}/infer"
_HTTP_EXTENSION, _POST, _BODY = 72295728, 4, 7
_LENGTH_DELIMITED = 2


def descriptor_set() -> bytes:
    """A serialised FileDescriptorSet in which POST `INFER_PATH` means ModelInfer, the body being the message."""
    files: dict[str, FileDescriptorProto] = {}
    _collect(service_pb2.DESCRIPTOR, files)
    _annotate(files[service_pb2.DESCRIPTOR.name])
    return FileDescriptorSet(file=files.values()).SerializeToString()


def _collect(file: FileDescriptor, files: dict[str, FileDescriptorProto]) -> None:
    """Depth first: a descriptor set lists files after those that they import."""
    for dependency in file.dependencies:
        _collect(dependency, files)
    if file.name not in files:
        files[file.name] = FileDescriptorProto.FromString(file.serialized_pb)


def _annotate(file: FileDescriptorProto) -> None:
    service = next(service for service in file.service if f"{file.package}.{service.name}" == SERVICE)
    method = next(method for method in service.method if method.name == "ModelInfer")
    rule = _field(_POST, INFER_PATH.encode()) + _field(_BODY, b"*")
    method.options.CopyFrom(MethodOptions.FromString(_field(_HTTP_EXTENSION, rule)))


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
