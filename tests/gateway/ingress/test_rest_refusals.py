"""Why REST requests are refused: each reason has its own status and words."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from config.schema import Deadlines
from tests.support.data_plane import PlaneThread, a_listener, a_plane, a_route, a_state
from tests.support.deadline import until
from tests.support.documents import BYTES, DOCUMENT, INFER, LENGTH
from tests.support.model_server import Model, ModelServer, echo, model_server, pb


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address, listen=[a_listener(apis=("inference",)), a_listener("wide")]) as running:
        yield running


class TestRefusals:
    def test_a_model_without_a_route(self, server: ModelServer) -> None:
        with a_plane(server.address, routes=[a_route("other")]) as plane:
            answer = plane.post(INFER, DOCUMENT)
        assert (answer.status, answer.error) == (404, "Request for unknown model: 'm' is not found")

    @pytest.mark.parametrize(
        ("models", "status", "message"),
        [
            ({}, 404, "Request for unknown model: 'm' is not found"),
            ({"m": {}}, 404, "Request for unknown model: 'm' has no available versions"),
            ({"m": {"1": "UNAVAILABLE"}}, 404, "Request for unknown model: 'm' has no available versions"),
            ({"m": {"1": "LOADING"}}, 503, "model 'm' is loading"),
        ],
    )
    def test_a_model_that_no_endpoint_serves(
        self, server: ModelServer, models: dict[str, dict[str, str]], status: int, message: str
    ) -> None:
        with a_plane(server.address, models=models) as plane:
            answer = plane.post(INFER, DOCUMENT)
            assert (answer.status, answer.error) == (status, message)
            assert ("retry-after" in answer.headers) == (status == 503)
            assert plane.codes() == {"NOT_FOUND" if status == 404 else "UNAVAILABLE": 1}
            plane.wait_idle()

    def test_a_version_that_is_not_ready(self, server: ModelServer) -> None:
        with a_plane(server.address, models={"m": {"1": "UNAVAILABLE", "2": "READY"}}) as plane:
            answer = plane.post("/v2/models/m/versions/1/infer", DOCUMENT)
        assert answer.status == 503
        assert answer.error == "Request for unknown model: 'm' version 1 is not at ready state"

    def test_no_endpoint_is_live(self, server: ModelServer) -> None:
        with a_plane(server.address) as plane:
            plane.apply(states={"p": (a_state(server.address, live=False),)})
            answer = plane.post(INFER, DOCUMENT)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.error == "no endpoint of pool 'p' is live"

    def test_an_endpoint_that_cannot_be_reached(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            address = f"127.0.0.1:{closed.getsockname()[1]}"
        with a_plane(address, connect_timeout=0.3) as plane:
            answer = plane.post(INFER, DOCUMENT)
            assert answer.status == 502
            assert f"endpoint {address} cannot be reached" in answer.error
            plane.wait_idle()

    def test_the_queue_is_full(self, plane: PlaneThread, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
        fault = (grpc.StatusCode.UNAVAILABLE, "[request id: 1] Exceeds maximum queue size")
        monkeypatch.setitem(server.faults, "ModelInfer", fault)
        answer = plane.post(INFER, DOCUMENT)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            (grpc.StatusCode.UNKNOWN, 400),
            (grpc.StatusCode.INTERNAL, 500),
            (grpc.StatusCode.NOT_FOUND, 404),
            (grpc.StatusCode.INVALID_ARGUMENT, 400),
            (grpc.StatusCode.UNAVAILABLE, 503),
            (grpc.StatusCode.UNIMPLEMENTED, 501),
            (grpc.StatusCode.ALREADY_EXISTS, 400),
            (grpc.StatusCode.CANCELLED, 400),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        ],
    )
    def test_the_model_refuses(
        self,
        plane: PlaneThread,
        server: ModelServer,
        monkeypatch: pytest.MonkeyPatch,
        code: grpc.StatusCode,
        status: int,
    ) -> None:
        monkeypatch.setitem(server.faults, "ModelInfer", (code, "because of ü"))
        answer = plane.post(INFER, DOCUMENT)
        assert (answer.status, answer.error) == (status, "because of ü")
        assert "retry-after" not in answer.headers

    def test_an_answer_that_is_none(self, plane: PlaneThread, server: ModelServer, monkeypatch: Any) -> None:
        reply = pb.ModelInferResponse(model_name="m", raw_output_contents=[b"1", b"2"])
        reply.outputs.add(name="X", datatype="INT32", shape=[1])
        monkeypatch.setattr(server, "infer", lambda request, context: reply)
        answer = plane.post(INFER, DOCUMENT)
        assert answer.status == 502
        assert "not a ModelInferResponse" in answer.error

    def test_a_deadline_cancels_the_work(self, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
        release = threading.Event()
        monkeypatch.setattr(server, "infer", lambda request, context: release.wait(10) and echo(request))
        cancelled = len(server.cancelled)
        try:
            with a_plane(server.address, routes=[a_route(timeout=0.2)]) as plane:
                answer = plane.post(INFER, DOCUMENT)
                assert (answer.status, answer.error.lower()) == (
                    504,
                    "deadline exceeded",
                )  # the server's words, or ours
                assert plane.codes() == {"DEADLINE_EXCEEDED": 1}
                until(lambda: len(server.cancelled) > cancelled, 5)
                plane.wait_idle()
        finally:
            release.set()

    def test_the_listener_bounds_questions_too(self, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
        release = threading.Event()
        monkeypatch.setattr(server, "_model", lambda name, context: release.wait(10) and Model())
        try:
            with a_plane(server.address, listen=[a_listener(deadlines=Deadlines(request=0.2))]) as plane:
                assert plane.get("/v2/models/m").status == 504
                assert plane.post(INFER, BYTES, {LENGTH: "0"}).status == 504
                assert plane.post("/v2/models/m/generate", DOCUMENT).status == 504
                release.set()
                plane.wait_idle()
        finally:
            release.set()

    def test_classification_of_text_never_reaches_a_worker(self, server: ModelServer) -> None:
        server.models["words"] = Model(outputs=[("OUT", "BYTES", (1,))])
        asked = DOCUMENT | {"outputs": [{"name": "OUT", "parameters": {"classification": 1}}]}
        before = len(server.called("ModelInfer"))
        with a_plane(server.address) as plane:
            answer = plane.post("/v2/models/words/infer", asked)
            assert (answer.status, len(server.called("ModelInfer"))) == (400, before)
            assert "'OUT'" in answer.error
            plane.wait_idle()


class TestApis:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v2"),
            ("GET", "/v2/health/ready"),
            ("GET", "/v2/models/stats"),
            ("POST", "/v2/repository/index"),
            ("GET", "/v2/logging"),
        ],
    )
    def test_a_class_that_the_listener_does_not_serve(self, narrow: PlaneThread, method: str, path: str) -> None:
        answer = narrow.request(method, path)
        assert (answer.status, answer.error) == (404, "Not Found")
        assert narrow.request(method, path, listener=1).status == 200

    def test_the_other_class_is_served(self, narrow: PlaneThread) -> None:
        assert narrow.post(INFER, DOCUMENT).status == 200
