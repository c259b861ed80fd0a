"""Health Watch and server reflection, with the clients of grpcio."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.data_plane import PlaneThread, a_listener, a_plane, a_state
from tests.support.deadline import until
from tests.support.h2_client import framed, h2_client
from tests.support.model_server import model_server
from transcoding.reflection import SERVICES

WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.{}.ServerReflection/ServerReflectionInfo"
Health: Any = health_pb2.HealthCheckResponse


@pytest.fixture
def plane() -> Iterator[PlaneThread]:
    with model_server() as server, a_plane(server.address) as running:
        yield running


def set_live(plane: PlaneThread, live: bool) -> None:
    plane.apply(states={"p": tuple(a_state(each.address, live=live) for each in plane.states["p"])})


def watch(plane: PlaneThread, service: str = "") -> Any:
    stub = health_pb2_grpc.HealthStub(plane.channel())
    return stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=20)


class TestWatch:
    @pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "grpc.health.v1.Health"])
    def test_tells_the_state_and_each_change(self, plane: PlaneThread, service: str) -> None:
        states = watch(plane, service)
        assert next(states).status == Health.SERVING
        set_live(plane, False)
        assert next(states).status == Health.NOT_SERVING
        set_live(plane, False)
        set_live(plane, True)
        assert next(states).status == Health.SERVING
        states.cancel()
        until(lambda: not plane.plane.watchers, 5)

    def test_a_service_that_is_not_known(self, plane: PlaneThread) -> None:
        states = watch(plane, "no.such.Service")
        assert next(states).status == Health.SERVICE_UNKNOWN
        set_live(plane, False)
        assert len(plane.plane.watchers) == 1
        states.cancel()

    def test_check_says_the_same_once(self, plane: PlaneThread) -> None:
        stub = health_pb2_grpc.HealthStub(plane.channel())
        assert stub.Check(health_pb2.HealthCheckRequest()).status == Health.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    def test_is_served_whatever_the_classes_of_the_listener(self) -> None:
        with model_server() as server, a_plane(server.address, listen=[a_listener(apis=("inference",))]) as plane:
            assert next(watch(plane)).status == Health.SERVING

    def test_draining_is_told_and_then_ends_it(self, plane: PlaneThread) -> None:
        states = watch(plane)
        assert next(states).status == Health.SERVING
        drain = threading.Thread(target=plane.run, args=(lambda: plane.plane.drain(0.2, 5.0),))
        drain.start()
        assert next(states).status == Health.NOT_SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(states)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "the gateway is going away"
        drain.join(10)
        assert plane.plane.watchers == set()

    def test_none_begins_at_the_end(self, plane: PlaneThread) -> None:
        plane.plane.ending = True
        with h2_client(plane.port()) as client:
            stream = client.grpc(WATCH)
            client.send(stream, framed(b""))
            assert client.finish(stream).status == "14"

    def test_a_request_that_is_none_harms_nobody(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(WATCH)
            client.send(stream, framed(b"\xff\xff"))
            call = client.finish(stream)
            assert (call.status, call.message) == ("3", "malformed protobuf message")
            assert plane.plane.watchers == set()
            set_live(plane, False)
            assert not plane.plane.serving

    @pytest.mark.parametrize("count", [0, 2])
    def test_another_number_of_requests_than_one(self, plane: PlaneThread, count: int) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(WATCH)
            client.send(stream, framed(b"") * count, end=True)
            assert client.finish(stream).status == "12"
            until(lambda: plane.plane.watchers == set(), 5)

    def test_goes_on_when_the_client_has_said_all(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(WATCH)
            client.send(stream, framed(b""), end=True)
            client.receive()
            set_live(plane, False)
            while len(client.calls[stream].messages) < 2:
                client.receive()
            statuses = [Health.FromString(each).status for each in client.calls[stream].messages]
            assert statuses == [Health.SERVING, Health.NOT_SERVING]
        until(lambda: plane.plane.watchers == set(), 5)

    def test_a_client_that_does_not_read_is_told_the_last_state(self, plane: PlaneThread) -> None:
        with h2_client(plane.port(), window=0, credit=False) as client:
            stream = client.grpc(WATCH)
            client.send(stream, framed(b""), end=True)
            until(lambda: plane.plane.watchers, 5)
            for live in (False, True, False):
                set_live(plane, live)
            client.h2.increment_flow_control_window(1000, stream)
            client.flush()
            while len(client.calls[stream].messages) < 4:
                client.receive()
            assert Health.FromString(client.calls[stream].messages[-1]).status == Health.NOT_SERVING


class TestReflection:
    def test_the_client_of_grpcio_finds_the_services(self, plane: PlaneThread) -> None:
        database = ProtoReflectionDescriptorDatabase(plane.channel())
        assert sorted(database.get_services()) == sorted(SERVICES)
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("inference.GRPCInferenceService")
        assert service.FindMethodByName("ModelInfer").input_type.name == "ModelInferRequest"
        assert pool.FindMessageTypeByName("grpc.health.v1.HealthCheckRequest").fields[0].name == "service"

    @pytest.mark.parametrize("version", ["v1", "v1alpha"])
    def test_each_question_has_its_answer_in_order(self, plane: PlaneThread, version: str) -> None:
        call = plane.channel().stream_stream(REFLECT.format(version))
        asked = ["inference.GRPCInferenceService", "no.such.Thing", "grpc.reflection.v1.ServerReflection"]
        questions = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=each) for each in asked]
        raw = call(iter([each.SerializeToString() for each in questions]), timeout=10)
        answers = [reflection_pb2.ServerReflectionResponse.FromString(each) for each in raw]
        assert [each.original_request.file_containing_symbol for each in answers] == asked
        assert [each.WhichOneof("message_response") for each in answers] == [
            "file_descriptor_response",
            "error_response",
            "file_descriptor_response",
        ]
        assert answers[1].error_response.error_code == 5
        assert raw.code() is grpc.StatusCode.OK

    def test_a_question_that_is_none_ends_it(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(REFLECT.format("v1"))
            client.send(stream, framed(b"\xff"))
            assert client.finish(stream).status == "3"

    def test_a_client_that_asks_faster_than_it_reads_waits(self, plane: PlaneThread) -> None:
        question = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService")
        message, total = framed(question.SerializeToString()), 12_000
        with h2_client(plane.port(), window=20_000, credit=False) as client:
            stream = client.grpc(REFLECT.format("v1"))
            sender = threading.Thread(target=send_all, args=(client, stream, message * total))
            sender.start()
            sender.join(1.0)
            queued = plane.run(lambda: outgoing(plane))
            assert 0 < queued < 500_000
            assert sender.is_alive()
            client.socket.shutdown(socket.SHUT_RDWR)
            sender.join(10)

    def test_and_is_answered_when_it_reads(self, plane: PlaneThread) -> None:
        question = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService")
        total = 200
        with h2_client(plane.port(), window=20_000, credit=False) as client:
            stream = client.grpc(REFLECT.format("v1"))
            client.send(stream, framed(question.SerializeToString()) * total, end=True)
            client.receive()
            client.credit = True
            client.give(stream)
            call = client.finish(stream)
            assert (call.status, len(call.messages)) == ("0", total)

    def test_it_uses_the_stub_of_grpcio(self, plane: PlaneThread) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(plane.channel())
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([question]), timeout=10)
        assert [each.name for each in answer.list_services_response.service] == list(SERVICES)


def send_all(client: Any, stream: int, data: bytes) -> None:
    try:
        client.send(stream, data, end=True)
    except (OSError, EOFError, ValueError):
        return


async def outgoing(plane: PlaneThread) -> int:
    """Bytes that wait for the client's window."""
    return sum(stream.queued for each in plane.listener.connections for stream in each.h2.streams.values())
