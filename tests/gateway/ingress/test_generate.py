"""generate and generate_stream through a data plane, with real gRPC servers behind it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from gateway.ingress.generate import EXACTLY_ONE, in_band
from tests.support.data_plane import PlaneThread, a_plane, a_route
from tests.support.generation import LLM, ONCE, ONE, STREAM, events, outs, repeat_all
from tests.support.model_server import (
    ModelServer,
    echo,
    final_of,
    ints_reply,
    model_server,
    pb,
    refusal,
    streamed,
)
from tests.support.triton import start_triton
from transcoding.status import Code


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(models={"llm": LLM, "once": ONCE}, stream=repeat_all) as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


class TestSingle:
    def test_a_model_that_answers_once_is_asked_once(self, plane: PlaneThread, server: ModelServer) -> None:
        answer = plane.post("/v2/models/once/generate", {"IN": [1, 2], "temperature": 1})
        assert answer.json == {"IN": [1, 2], "model_name": "once", "model_version": "1"}
        sent = server.called("ModelInfer")[-1]
        assert sent.parameters["temperature"].int64_param == 1

    def test_its_errors_keep_their_code(self, plane: PlaneThread, server: ModelServer, monkeypatch: Any) -> None:
        monkeypatch.setitem(server.faults, "ModelInfer", (grpc.StatusCode.ALREADY_EXISTS, "twice"))
        answer = plane.post("/v2/models/once/generate", {"IN": 1})
        assert (answer.status, answer.error) == (400, "twice")
        assert plane.codes()["ALREADY_EXISTS"] == 1

    def test_a_decoupled_model_that_answers_once(self, plane: PlaneThread, server: ModelServer) -> None:
        assert plane.post(ONE, {"IN": 7}).json == {"OUT": 7, "model_name": "llm", "model_version": "1"}
        assert server.called("streamed")[-1].parameters["triton_enable_empty_final_response"].bool_param

    @pytest.mark.parametrize("numbers", [[], [1, 2]])
    def test_exactly_one_response(self, plane: PlaneThread, numbers: list[int]) -> None:
        before = plane.codes().get("INVALID_ARGUMENT", 0)
        answer = plane.post(ONE, {"IN": numbers})
        assert (answer.status, answer.error) == (400, EXACTLY_ONE)
        assert plane.codes()["INVALID_ARGUMENT"] == before + 1

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ([1], "request body: expected a JSON object, got an array"),
            ({"IN": 1, "id": 5}, "id: expected a string, got 5"),
        ],
    )
    def test_a_request_that_cannot_be(self, plane: PlaneThread, document: Any, message: str) -> None:
        answer = plane.post(STREAM, json.dumps(document).encode())
        assert (answer.status, answer.error) == (400, message)

    def test_a_body_must_not_be_coded(self, plane: PlaneThread) -> None:
        answer = plane.post(ONE, {"IN": 7}, {"Content-Encoding": "gzip"})
        assert (answer.status, answer.error) == (
            400,
            "Unsupported content-encoding, only 'identity' is supported.",
        )
        assert plane.post(ONE, {"IN": 7}, {"Content-Encoding": "identity"}).status == 200

    def test_a_model_that_is_unknown(self, plane: PlaneThread) -> None:
        answer = plane.post("/v2/models/nope/generate", {"IN": 7})
        assert (answer.status, answer.error) == (404, "Request for unknown model: 'nope' is not found")

    def test_the_route_chooses_the_version(self, server: ModelServer) -> None:
        with a_plane(server.address, routes=[a_route(version="3")]) as plane:
            assert plane.post("/v2/models/once/generate", {"IN": 1}).json["model_version"] == "3"
            plane.post(ONE, {"IN": 1})
            plane.post("/v2/models/llm/versions/4/generate", {"IN": 1})
        assert [each.model_version for each in server.called("streamed")[-2:]] == ["3", "4"]

    def test_allowed_metadata_travels_on(self, plane: PlaneThread, server: ModelServer) -> None:
        plane.post(STREAM, {"IN": 1}, {"traceparent": "00-1-2-01", "authorization": "x"})
        metadata = server.calls[-2][2]
        assert metadata["traceparent"] == "00-1-2-01"
        assert "authorization" not in metadata


class TestEvents:
    def test_each_response_is_an_event(self, plane: PlaneThread) -> None:
        assert outs(plane.post(STREAM, {"IN": [1, 2, 3]})) == [1, 2, 3]

    def test_a_model_that_answers_once_is_one_event(self, plane: PlaneThread) -> None:
        assert [event["IN"] for event in events(plane.post("/v2/models/once/generate_stream", {"IN": [4, 5]}))] == [
            [4, 5]
        ]

    def test_no_response_is_no_event(self, plane: PlaneThread) -> None:
        answer = plane.post(STREAM, {"IN": []})
        assert (answer.status, events(answer)) == (200, [])

    def test_an_error_before_the_first_event_is_the_answer(
        self, plane: PlaneThread, server: ModelServer, monkeypatch: Any
    ) -> None:
        def refuse(requests: Iterator[Any], context: Any) -> Iterator[Any]:
            for request in requests:
                yield refusal(request, "no such shape")

        monkeypatch.setattr(server, "stream", refuse)
        answer = plane.post(STREAM, {"IN": 1})
        assert (answer.status, answer.error) == (400, "no such shape")

    def test_errors_after_the_first_event_are_events(
        self, plane: PlaneThread, server: ModelServer, monkeypatch: Any
    ) -> None:
        def stumble(requests: Iterator[Any], context: Any) -> Iterator[Any]:
            for request in requests:
                yield streamed(ints_reply(request, [1]))
                for text in ("first", "second"):
                    yield streamed(pb.ModelInferResponse(model_name="llm"), error=text)
                yield streamed(ints_reply(request, [4]))
                yield final_of(request)

        monkeypatch.setattr(server, "stream", stumble)
        before = plane.codes().get("INVALID_ARGUMENT", 0)
        assert outs(plane.post(STREAM, {"IN": 1})) == [1, "first", "second", 4]
        assert plane.codes()["INVALID_ARGUMENT"] == before + 1

    def test_a_response_that_is_none_is_an_error_event(
        self, plane: PlaneThread, server: ModelServer, monkeypatch: Any
    ) -> None:
        def stumble(requests: Iterator[Any], context: Any) -> Iterator[Any]:
            for request in requests:
                yield streamed(ints_reply(request, [1]))
                broken = ints_reply(request, [1])
                broken.raw_output_contents.append(b"one too many")
                yield streamed(broken)
                yield final_of(request)

        monkeypatch.setattr(server, "stream", stumble)
        first, second = outs(plane.post(STREAM, {"IN": 1}))
        assert (first, "not a ModelInferResponse" in second) == (1, True)

    def test_a_worker_that_breaks_off(self, plane: PlaneThread, server: ModelServer, monkeypatch: Any) -> None:
        def break_off(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for request in requests:
                yield streamed(ints_reply(request, [1]))
                context.abort(grpc.StatusCode.INTERNAL, "gone")

        monkeypatch.setattr(server, "stream", break_off)
        assert outs(plane.post(STREAM, {"IN": 1})) == [1, "gone"]

    def test_a_worker_that_refuses_the_stream(self, plane: PlaneThread, server: ModelServer, monkeypatch: Any) -> None:
        monkeypatch.setitem(server.faults, "ModelStreamInfer", (grpc.StatusCode.UNAVAILABLE, "shutting down"))
        answer = plane.post(STREAM, {"IN": 1})
        assert (answer.status, answer.error) == (503, "shutting down")

    def test_an_endpoint_that_cannot_be_reached_is_passed_over(self, server: ModelServer) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            dead = f"127.0.0.1:{closed.getsockname()[1]}"
        with a_plane(dead, server.address, connect_timeout=0.2) as plane:
            assert [outs(plane.post(STREAM, {"IN": [1]})) for _ in range(4)] == [[1]] * 4
            plane.wait_idle()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[request id: 1] Exceeds maximum queue size", Code.UNAVAILABLE),
        ("Request timeout expired", Code.UNAVAILABLE),
        ("Failed to process the request(s) for model instance 'm'", Code.INTERNAL),
        ("unexpected shape", Code.INVALID_ARGUMENT),
        ("Request for unknown model: 'm' is not found", Code.NOT_FOUND),
        ("Request for unknown model: 'm' has no available versions", Code.NOT_FOUND),
        ("Request for unknown model: 'm' version 1 is not at ready state", Code.UNAVAILABLE),
    ],
)
def test_what_a_stream_tells_by_text_alone(text: str, code: Code) -> None:
    assert in_band(text).code is code


def test_sequences_keep_their_endpoint() -> None:
    once = {"once": ONCE}
    with model_server(models=once) as first, model_server(models=once) as second:
        with a_plane(first.address, second.address) as plane:
            for _ in range(6):
                assert plane.post("/v2/models/once/generate", {"IN": 1, "sequence_id": 9}).status == 200
        assert sorted(len(each.called("ModelInfer")) for each in (first, second)) == [0, 6]


def test_the_server_is_asked_for_the_final_response() -> None:
    """`echo` sets none: the end of the stream is the end then."""
    answers = model_server(models={"llm": LLM}, stream=lambda requests, _: (streamed(echo(each)) for each in requests))
    with answers as server, a_plane(server.address) as plane:
        assert len(events(plane.post(STREAM, {"IN": [1, 2]}))) == 1
        plane.wait_idle()


@pytest.mark.triton
class TestTriton:
    def test_a_decoupled_model(self) -> None:
        with a_plane(start_triton(["repeat_int32", "mock_llm"]).grpc_address) as plane:
            document = {"IN": [4, 2], "DELAY": [0, 0], "WAIT": 0}
            found = events(plane.post("/v2/models/repeat_int32/generate_stream", document))
            assert [(event["OUT"], event["IDX"]) for event in found] == [(4, 0), (2, 1)]
            answer = plane.post("/v2/models/mock_llm/generate", {"PROMPT": "hi", "STREAM": False})
            assert answer.json["TEXT"] == "hi"
            plane.wait_idle()
