"""Unary gRPC through a data plane: grpcio and hand-made frames in front, real gRPC servers behind."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from config.schema import Deadlines, Limits
from tests.support.data_plane import PlaneThread, a_listener, a_plane, a_route, a_state
from tests.support.deadline import until
from tests.support.grpc_calls import INFER, LIVE, Status, infer, raw, refused
from tests.support.h2_client import framed, h2_client
from tests.support.model_server import Model, ModelServer, echo, model_server, numbers_of, pb, request_of
from tests.support.triton import start_triton


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    limits = Limits(body_bytes=100_000, inflated_bytes=50_000)
    with a_plane(server.address, listen=[a_listener(limits=limits)]) as running:
        yield running


@pytest.fixture
def hanging(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Inference waits for this event."""
    release = threading.Event()
    monkeypatch.setattr(server, "infer", lambda request, context: release.wait(10) and echo(request))
    yield release
    release.set()


class TestInference:
    def test_a_small_message_passes_through(self, plane: PlaneThread, server: ModelServer) -> None:
        request = request_of(id="a")
        request.parameters["custom"].string_param = "kept"
        assert numbers_of(infer(plane, request)) == [1, 2, 3]
        assert server.called("ModelInfer")[-1] == request

    def test_a_message_over_many_frames(self, plane: PlaneThread, server: ModelServer) -> None:
        request = request_of(numbers=range(20_000))
        assert numbers_of(infer(plane, request)) == list(range(20_000))
        assert server.called("ModelInfer")[-1] == request

    def test_frames_of_any_size(self, plane: PlaneThread) -> None:
        message = framed(request_of().SerializeToString())
        assert raw(plane, *(message[at : at + 1] for at in range(len(message)))).status == "0"
        assert raw(plane, message[:3], message[3:]).status == "0"

    def test_the_end_may_come_late(self, plane: PlaneThread, server: ModelServer) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(INFER)
            client.send(stream, framed(request_of().SerializeToString()))
            client.quiet(0.1)
            assert not client.calls[stream].headers
            client.send(stream, b"", end=True)
            call = client.finish(stream)
        assert (call.status, len(call.messages)) == ("0", 1)

    def test_trailers_may_end_the_request(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(INFER)
            client.send(stream, framed(request_of().SerializeToString()))
            client.h2.send_headers(stream, [("x-checksum", "1")], end_stream=True)
            client.flush()
            assert client.finish(stream).status == "0"

    def test_a_large_answer_waits_for_the_clients_window(self, plane: PlaneThread) -> None:
        message = framed(request_of(numbers=range(20_000)).SerializeToString())
        with h2_client(plane.port(), window=100) as client:
            stream = client.grpc(INFER)
            client.send(stream, message, end=True)
            call = client.finish(stream)
        assert numbers_of(pb.ModelInferResponse.FromString(call.messages[0])) == list(range(20_000))
        assert call.trailers == {"grpc-status": "0"}


class TestVersions:
    def test_the_route_chooses_for_those_who_name_none(self, server: ModelServer) -> None:
        with a_plane(server.address, routes=[a_route(version="2")]) as plane:
            assert infer(plane).model_version == "2"
            assert infer(plane, request_of(numbers=range(10_000))).model_version == "2"
            assert infer(plane, request_of(version="3")).model_version == "3"
            stub = plane.stub()
            assert stub.ModelMetadata(pb.ModelMetadataRequest(name="m")).versions == ["2"]
            assert stub.ModelMetadata(pb.ModelMetadataRequest(name="m", version="3")).versions == ["3"]
            plane.wait_idle()


class TestHeads:
    @pytest.mark.parametrize(
        "path",
        ["/inference.GRPCInferenceService/Nope", "/other.Service/ModelInfer", "/", "/inference.GRPCInferenceService"],
    )
    def test_a_method_that_is_not_known(self, plane: PlaneThread, path: str) -> None:
        call = raw(plane, framed(b""), path=path)
        assert (call.headers[":status"], call.status, call.message) == ("200", "12", "no such method here")
        assert (call.ended, call.data, call.trailers) == (True, b"", {})

    def test_a_class_that_the_listener_does_not_serve(self, server: ModelServer) -> None:
        with a_plane(server.address, listen=[a_listener(apis=("inference",)), a_listener("all")]) as plane:
            narrow, wide = plane.stub(), plane.stub(listener=1)
            for call, request in (
                ("ServerLive", pb.ServerLiveRequest()),
                ("ModelStatistics", pb.ModelStatisticsRequest()),
                ("RepositoryIndex", pb.RepositoryIndexRequest()),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    getattr(narrow, call)(request)
                assert caught.value.code() is Status.UNIMPLEMENTED
                getattr(wide, call)(request)
            assert numbers_of(narrow.ModelInfer(request_of())) == [1, 2, 3]

    def test_a_stream_that_the_listener_does_not_serve(self, server: ModelServer) -> None:
        with a_plane(server.address, listen=[a_listener(apis=("metadata",))]) as plane:
            with pytest.raises(grpc.RpcError) as caught:
                list(plane.stub().ModelStreamInfer(iter([request_of()])))
            assert caught.value.code() is Status.UNIMPLEMENTED
            plane.wait_idle()

    def test_an_early_answer_stops_the_upload(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc("/other.Service/Upload")
            call = client.finish(stream)
            client.quiet(0.1)
            assert (call.status, call.reset) == ("12", 0)  # NO_ERROR
            again = client.grpc(LIVE)
            client.send(again, framed(b""), end=True)
            assert client.finish(again).status == "0"

    def test_only_allowed_metadata_travels_on(self, plane: PlaneThread, server: ModelServer) -> None:
        sent = (
            ("traceparent", "00-1-2-01"),
            ("x-request-id", "r"),
            ("authorization", "Bearer x"),
            ("triton_grpc_error", "true"),
            ("x-other", "o"),
        )
        infer(plane, metadata=sent)
        metadata = server.calls[-1][2]
        assert (metadata["traceparent"], metadata["x-request-id"]) == ("00-1-2-01", "r")
        assert not {"authorization", "triton_grpc_error", "x-other"} & metadata.keys()


class TestTimeouts:
    def test_it_is_honoured_and_cancels_the_work(
        self, plane: PlaneThread, server: ModelServer, hanging: threading.Event
    ) -> None:
        cancelled, before = len(server.cancelled), plane.codes().get("DEADLINE_EXCEEDED", 0)
        call = raw(plane, framed(request_of().SerializeToString()), headers=[("grpc-timeout", "200m")])
        assert (call.status, call.message) == ("4", "deadline exceeded")
        until(lambda: len(server.cancelled) > cancelled, 5)
        assert plane.codes()["DEADLINE_EXCEEDED"] == before + 1

    @pytest.mark.parametrize("timeout", ["0n", "0H"])
    def test_one_that_is_over_at_once(self, plane: PlaneThread, server: ModelServer, timeout: str) -> None:
        calls = len(server.calls)
        call = raw(plane, framed(request_of().SerializeToString()), headers=[("grpc-timeout", timeout)])
        assert (call.status, len(server.calls)) == ("4", calls)
        assert raw(plane, framed(b""), path=LIVE, headers=[("grpc-timeout", timeout)]).status == "4"

    def test_it_runs_from_the_head_of_the_call(self, plane: PlaneThread, server: ModelServer) -> None:
        calls = len(server.calls)
        with h2_client(plane.port()) as client:
            stream = client.grpc(INFER, [("grpc-timeout", "100m")])
            time.sleep(0.2)
            client.send(stream, framed(request_of().SerializeToString()), end=True)
            assert client.finish(stream).status == "4"
        assert len(server.calls) == calls

    def test_one_that_is_none(self, plane: PlaneThread) -> None:
        assert raw(plane, framed(b""), headers=[("grpc-timeout", "soon")]).status == "3"

    def test_the_earliest_of_client_route_and_listener_counts(
        self, server: ModelServer, hanging: threading.Event
    ) -> None:
        message = framed(request_of().SerializeToString())
        route, listener = a_route(timeout=0.2), a_listener(deadlines=Deadlines(request=0.2))
        for options in ({"routes": [route]}, {"listen": [listener]}):
            with a_plane(server.address, **options) as plane:
                started = time.monotonic()
                assert raw(plane, message, headers=[("grpc-timeout", "9S")]).status == "4"
                assert time.monotonic() - started < 3
                plane.wait_idle()

    def test_questions_have_one_too(self, plane: PlaneThread, server: ModelServer, monkeypatch: Any) -> None:
        release = threading.Event()
        monkeypatch.setattr(server, "_model", lambda name, context: release.wait(10) and Model())
        path = "/inference.GRPCInferenceService/ModelMetadata"
        question = framed(pb.ModelMetadataRequest(name="m").SerializeToString())
        assert raw(plane, question, path=path, headers=[("grpc-timeout", "200m")]).status == "4"
        release.set()

    def test_the_listeners_bounds_questions(self, server: ModelServer, monkeypatch: Any) -> None:
        release = threading.Event()
        monkeypatch.setattr(server, "_model", lambda name, context: release.wait(10) and Model())
        question = framed(pb.ModelMetadataRequest(name="m").SerializeToString())
        with a_plane(server.address, listen=[a_listener(deadlines=Deadlines(request=0.2))]) as plane:
            assert raw(plane, question, path="/inference.GRPCInferenceService/ModelMetadata").status == "4"
        release.set()

    def test_it_bounds_the_wait_for_a_connection(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as full:  # nobody ever accepts, or speaks
            address = f"127.0.0.1:{full.getsockname()[1]}"
            with a_plane(address, connect_timeout=20.0) as plane:
                message = framed(request_of().SerializeToString())
                assert raw(plane, message, headers=[("grpc-timeout", "200m")]).status == "4"
                plane.wait_idle()

    def test_a_body_that_does_not_come(self, server: ModelServer) -> None:
        listener = a_listener(deadlines=Deadlines(body=0.2))
        with a_plane(server.address, listen=[listener]) as plane, h2_client(plane.port()) as client:
            stream = client.grpc(INFER)
            client.send(stream, b"\0\0\0\0\x0aabc")
            call = client.finish(stream)
            assert (call.status, call.message) == ("4", "the request did not arrive in time")
            plane.wait_idle()


class TestRefusals:
    def test_errors_of_the_worker_pass(self, plane: PlaneThread, server: ModelServer, monkeypatch: Any) -> None:
        monkeypatch.setitem(server.faults, "ModelInfer", (Status.ALREADY_EXISTS, "größer\n%"))
        assert refused(plane) == (Status.ALREADY_EXISTS, "größer\n%")

    def test_a_model_without_a_route(self, server: ModelServer) -> None:
        with a_plane(server.address, routes=[a_route("other")]) as plane:
            assert refused(plane) == (Status.NOT_FOUND, "Request for unknown model: 'm' is not found")
            assert plane.stub().ModelReady(pb.ModelReadyRequest(name="m")) == pb.ModelReadyResponse(ready=False)

    def test_no_endpoint_is_live(self, server: ModelServer) -> None:
        with a_plane(server.address) as plane:
            plane.apply(states={"p": (a_state(server.address, live=False),)})
            assert refused(plane) == (Status.UNAVAILABLE, "no endpoint of pool 'p' is live")
            assert plane.codes() == {"UNAVAILABLE": 1}

    def test_classification_of_text(self, server: ModelServer, plane: PlaneThread) -> None:
        server.models["words"] = Model(outputs=[("OUT", "BYTES", (1,))])
        request = request_of("words")
        request.outputs.add(name="OUT").parameters["classification"].int64_param = 1
        code, text = refused(plane, request)
        assert (code, "'OUT'" in text) == (Status.INVALID_ARGUMENT, True)

    def test_a_bug_is_told_as_ours(self, plane: PlaneThread, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
        def broken(*_: object) -> None:
            raise KeyError("a bug")

        monkeypatch.setattr(plane.plane.guard, "check_classified", broken)
        request = request_of()
        request.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = 1
        assert refused(plane, request) == (Status.INTERNAL, "internal error")
        assert "a bug" in caplog.text


class TestCounting:
    def test_each_call_is_counted_once(self, server: ModelServer, monkeypatch: Any) -> None:
        with a_plane(server.address) as plane:
            infer(plane)
            monkeypatch.setitem(server.faults, "ModelInfer", (Status.INTERNAL, "no"))
            refused(plane)
            assert plane.codes() == {"OK": 1, "INTERNAL": 1}
            assert plane.counted("penstock_upstream_requests_total") == {
                ("p", server.address, "ok"): 1,
                ("p", server.address, "model"): 1,
            }

    @pytest.mark.parametrize("how", ["cancel", "disconnect"])
    def test_a_client_that_leaves_cancels_its_work(
        self, server: ModelServer, hanging: threading.Event, how: str
    ) -> None:
        cancelled, calls = len(server.cancelled), len(server.calls)
        with a_plane(server.address) as plane:
            with h2_client(plane.port()) as client:
                stream = client.grpc(INFER)
                client.send(stream, framed(request_of().SerializeToString()), end=True)
                until(lambda: len(server.calls) > calls, 5)
                assert plane.held()["at endpoints"] == 1
                if how == "cancel":
                    client.reset(stream)
                    until(lambda: len(server.cancelled) > cancelled, 5)
            until(lambda: len(server.cancelled) > cancelled, 5)
            plane.wait_idle()
            assert plane.codes() == {"CANCELLED": 1}

    def test_a_client_that_leaves_while_it_sends(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(INFER)
            client.send(stream, framed(bytes(50_000))[:30_000])
            until(lambda: plane.held().get("buffered") == 30_000, 5)
        plane.wait_idle()


class TestManagement:
    def test_health_and_metadata(self, plane: PlaneThread) -> None:
        stub = plane.stub()
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        assert stub.ServerMetadata(pb.ServerMetadataRequest()).version == "2.51.0"
        assert stub.ModelReady(pb.ModelReadyRequest(name="m")).ready


@pytest.mark.triton
def test_a_real_triton() -> None:
    with a_plane(start_triton(["simple", "fails", "id_fp32"]).grpc_address) as plane:
        request = pb.ModelInferRequest(model_name="simple")
        numbers = request_of(numbers=range(16))
        for name in ("INPUT0", "INPUT1"):
            request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
            request.raw_input_contents.append(numbers.raw_input_contents[0])
        assert numbers_of(infer(plane, request)) == [2 * number for number in range(16)]
        assert refused(plane, request_of("id_fp32"))[0] is Status.INVALID_ARGUMENT
        assert json.loads(plane.get("/v2").body)["name"] == "triton"
        plane.wait_idle()
