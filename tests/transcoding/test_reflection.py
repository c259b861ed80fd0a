"""Reflection, asked by grpcio-reflection's own client through a real gRPC server, and edge by edge."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from tests.support.outcome import outcome
from transcoding.methods import METHODS
from transcoding.reflection import SERVICES, Reflector, gateway_reflector
from transcoding.status import Code

REFLECTOR = gateway_reflector()


def ask(**question: Any) -> Any:
    request = pb.ServerReflectionRequest(**question)
    reply = pb.ServerReflectionResponse.FromString(REFLECTOR.answer(request.SerializeToString()))
    assert reply.original_request == request
    return reply


class Handlers(grpc.GenericRpcHandler):
    """A server of reflection, v1alpha, by `Reflector.answer`."""

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if call.method != "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo":
            return None
        return grpc.stream_stream_rpc_method_handler(lambda requests, _: map(REFLECTOR.answer, requests))


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


def test_a_client_can_build_all_from_reflection(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert tuple(database.get_services()) == SERVICES
    pool = DescriptorPool(database)
    for service in SERVICES:
        assert pool.FindServiceByName(service).full_name == service
    request = pool.FindMessageTypeByName("inference.ModelInferRequest")
    known = service_pb2.ModelInferRequest.DESCRIPTOR
    assert {field.name: field.number for field in request.fields} == {f.name: f.number for f in known.fields}
    assert pool.FindFileByName("model_config.proto").package == "inference"
    stable = pool.FindServiceByName("grpc.reflection.v1.ServerReflection").methods[0]
    assert stable.input_type.full_name == "grpc.reflection.v1.ServerReflectionRequest"
    assert stable.output_type.fields_by_name["error_response"].message_type.file.package == "grpc.reflection.v1"
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("inference.Nothing")


def test_services_are_those_that_are_served() -> None:
    assert {method.service for method in METHODS.values()} == set(SERVICES)
    assert [service.name for service in ask(list_services="").list_services_response.service] == list(SERVICES)


def test_no_services_is_still_an_answer() -> None:
    reply = Reflector([], []).answer(pb.ServerReflectionRequest(list_services="").SerializeToString())
    assert pb.ServerReflectionResponse.FromString(reply).WhichOneof("message_response") == "list_services_response"


@pytest.mark.parametrize(
    "symbol",
    [
        "inference.GRPCInferenceService",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.ModelInferRequest",
        "inference.ModelInferRequest.InferInputTensor",
        "inference.ModelInferRequest.model_name",
    ],
)
def test_a_symbol_comes_with_all_that_its_file_imports(symbol: str) -> None:
    files = ask(file_containing_symbol=symbol).file_descriptor_response.file_descriptor_proto
    names = [FileDescriptorProto.FromString(file).name for file in files]
    assert names == ["grpc_service.proto", "model_config.proto"]


@pytest.mark.parametrize(
    "question",
    [
        {"file_by_filename": "nowhere.proto"},
        {"file_containing_symbol": "inference.Nothing"},
        {"file_containing_symbol": ""},
        {"all_extension_numbers_of_type": "inference.Nothing"},
        {"file_containing_extension": pb.ExtensionRequest(containing_type="inference.ModelInput", extension_number=1)},
    ],
)
def test_what_is_not_there_is_an_answer_too(question: dict[str, Any]) -> None:
    assert ask(**question).error_response.error_code == Code.NOT_FOUND


def test_a_message_without_extensions() -> None:
    reply = ask(all_extension_numbers_of_type="inference.ModelInferRequest").all_extension_numbers_response
    assert (reply.base_type_name, list(reply.extension_number)) == ("inference.ModelInferRequest", [])


def test_no_question() -> None:
    assert ask(host="h").error_response.error_code == Code.INVALID_ARGUMENT
    assert ask(host="h").valid_host == "h"


def test_extensions_are_found_by_number() -> None:
    base = FileDescriptorProto(name="base.proto", package="p")
    base.message_type.add(name="Open").extension_range.add(start=100, end=200)
    more = FileDescriptorProto(name="more.proto", package="q", dependency=["base.proto"])
    text = FieldDescriptorProto.TYPE_STRING
    more.extension.add(name="outer", number=101, extendee=".p.Open", type=text)
    more.message_type.add(name="Holder").extension.add(name="inner", number=100, extendee=".p.Open", type=text)
    reflector = Reflector([base, more], [])

    def answer(**question: Any) -> Any:
        request = pb.ServerReflectionRequest(**question).SerializeToString()
        return pb.ServerReflectionResponse.FromString(reflector.answer(request))

    numbers = answer(all_extension_numbers_of_type="p.Open").all_extension_numbers_response.extension_number
    assert list(numbers) == [100, 101]
    for number in numbers:
        extension = pb.ExtensionRequest(containing_type="p.Open", extension_number=number)
        files = answer(file_containing_extension=extension).file_descriptor_response.file_descriptor_proto
        assert [FileDescriptorProto.FromString(file).name for file in files] == ["more.proto", "base.proto"]
    for symbol in ("q.outer", "q.Holder.inner", "q.Holder"):
        assert answer(file_containing_symbol=symbol).WhichOneof("message_response") == "file_descriptor_response"


@given(st.binary(max_size=60))
def test_any_bytes_give_an_answer_or_a_gateway_error(request_: bytes) -> None:
    answer = outcome(REFLECTOR.answer, request_)
    assert isinstance(answer, bytes) or answer.code == Code.INVALID_ARGUMENT
