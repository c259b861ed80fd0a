"""generate and generate_stream through a data plane, with real gRPC servers behind it."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from gateway.ingress.generate import EXACTLY_ONE, Generation, in_band
from tests.support.data_plane import Answer, PlaneThread, a_plane, a_route
from tests.support.deadline import until
from tests.support.model_server import (
    Model,
    ModelServer,
    echo,
    final_of,
    ints_reply,
    model_server,
    pb,
    refusal,
    repeat,
    streamed,
)
from tests.support.triton import start_triton
from transcoding.dialects.oip_paths import route
from transcoding.status import Code, GatewayError

LLM = Model(inputs=[("IN", "INT32", (-1,))], outputs=[("OUT", "INT32", (1,))], decoupled=True)
ONCE = Model(inputs=[("IN", "INT32", (-1,))], outputs=[("IN", "INT32", (-1,))])
ONE, STREAM = "/v2/models/llm/generate", "/v2/models/llm/generate_stream"


def repeat_all(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    for request in requests:
        yield from repeat(request)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(models={"llm": LLM, "once": ONCE}, stream=repeat_all) as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "plane" in request.fixturenames:
        request.getfixturevalue("plane").wait_idle()


def events(answer: Answer) -> list[Any]:
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = answer.body.decode().split("\n\n")
    assert parts.pop() == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def outs(answer: Answer) -> list[Any]:
    return [event.get("OUT", event.get("error")) for event in events(answer)]


def connect(plane: PlaneThread, path: str, document: Any) -> socket.socket:
    """A client that has sent its request and read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
    client.settimeout(20)
    client.connect(("127.0.0.1", plane.port()))
    body = json.dumps(document).encode()
    client.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
    return client


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


class TestDeadline:
    def test_before_the_first_event(self, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
        release = threading.Event()

        def silent(requests: Iterator[Any], context: Any) -> Iterator[Any]:
            release.wait(10)
            yield from repeat_all(requests, context)

        monkeypatch.setattr(server, "stream", silent)
        try:
            with a_plane(server.address, routes=[a_route(timeout=0.3)]) as plane:
                assert plane.post(STREAM, {"IN": 1}).status == 504
                assert plane.post(ONE, {"IN": 1}).status == 504
                assert plane.codes() == {"DEADLINE_EXCEEDED": 2}
                plane.wait_idle()
        finally:
            release.set()

    def test_after_the_first_event(self, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
        def endless(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for request in requests:
                while context.is_active():
                    yield streamed(ints_reply(request, [1]))
                    time.sleep(0.02)

        monkeypatch.setattr(server, "stream", endless)
        cancelled = len(server.cancelled)
        with a_plane(server.address, routes=[a_route(timeout=0.3)]) as plane:
            *numbers, last = outs(plane.post(STREAM, {"IN": 1}))
            assert (set(numbers), last) == ({1}, "deadline exceeded")
            until(lambda: len(server.cancelled) > cancelled, 5)
            assert plane.codes() == {"DEADLINE_EXCEEDED": 1}
            plane.wait_idle()


class TestClients:
    @pytest.mark.parametrize("after", [0, 1])
    @pytest.mark.parametrize("path", [ONE, STREAM])
    def test_leaving_cancels_the_work(self, server: ModelServer, monkeypatch: Any, path: str, after: int) -> None:
        def wait(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for request in requests:
                for _ in range(after):
                    yield streamed(ints_reply(request, [1]))
                until(lambda: not context.is_active(), 10)

        monkeypatch.setattr(server, "stream", wait)
        cancelled, calls = len(server.cancelled), len(server.called("streamed"))
        with a_plane(server.address) as plane:
            with connect(plane, path, {"IN": 1}) as client:
                until(lambda: len(server.called("streamed")) > calls, 5)
                assert plane.held()["at endpoints"] == 1
                if after and path == STREAM:
                    received = b""
                    while b"OUT" not in received:
                        received += client.recv(4096)
            until(lambda: len(server.cancelled) > cancelled, 5)
            plane.wait_idle()
            assert plane.codes() == {"CANCELLED": 1}

    def test_one_that_does_not_read_stops_the_worker(self, server: ModelServer, monkeypatch: Any) -> None:
        total, size = 300, 100_000
        made: list[int] = []

        def flood(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for request in requests:
                for number in range(total):
                    made.append(number)
                    reply = ints_reply(request, [number])
                    reply.outputs[0].datatype = "BYTES"
                    reply.outputs[0].shape[:] = [1]
                    reply.raw_output_contents[0] = struct.pack("<I", size) + b"x" * size
                    yield streamed(reply)
                yield final_of(request)

        monkeypatch.setattr(server, "stream", flood)
        with a_plane(server.address) as plane, connect(plane, STREAM, {"IN": 1}) as client:
            until(lambda: len(made) > 10, 5)
            until(lambda: stands_still(made), 10)
            assert len(made) * size < 15_000_000
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                received += client.recv(1_000_000)
            assert received.count(b"data: ") == total
            plane.wait_idle()
            assert plane.codes() == {"OK": 1}


def stands_still(made: list[int]) -> bool:
    before = len(made)
    time.sleep(0.5)
    return len(made) == before


class TestAbandoned:
    """A generation whose events nobody takes."""

    def a_generation(self, plane: PlaneThread) -> Generation:
        match = route(b"POST", STREAM.encode())
        assert not isinstance(match, GatewayError)
        return Generation(plane.plane, match, b'{"IN":[1,2,3]}', b"")

    def test_closed_before_the_first_event(self, plane: PlaneThread) -> None:
        async def main() -> None:
            generation = self.a_generation(plane)
            await generation.start(None)
            await (await generation.events()).aclose()

        before = plane.codes().get("CANCELLED", 0)
        plane.run(main)
        assert plane.held() == {}
        assert plane.codes()["CANCELLED"] == before + 1

    def test_dropped_before_the_first_event(self, plane: PlaneThread) -> None:
        async def main() -> None:
            generation = self.a_generation(plane)
            await generation.start(None)
            await generation.events()

        plane.run(main)
        gc.collect()
        assert plane.held() == {}

    def test_closed_after_the_end_changes_nothing(self, plane: PlaneThread) -> None:
        async def main() -> list[bytes]:
            generation = self.a_generation(plane)
            await generation.start(None)
            taken = await generation.events()
            found = [event async for event in taken]
            await taken.aclose()
            return found

        before = plane.codes()
        assert len(plane.run(main)) == 3
        after = plane.codes()
        assert after.pop("OK") == before.pop("OK", 0) + 1
        assert after == before

    def test_an_exception_thrown_in_ends_it(self, plane: PlaneThread) -> None:
        async def main() -> None:
            generation = self.a_generation(plane)
            await generation.start(None)
            await (await generation.events()).athrow(ValueError("no"))

        with pytest.raises(ValueError, match="no"):
            plane.run(main)
        assert plane.held() == {}

    def test_cancelled_while_it_waits(self, plane: PlaneThread, server: ModelServer, monkeypatch: Any) -> None:
        def silent(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            until(lambda: not context.is_active(), 10)
            yield from ()

        monkeypatch.setattr(server, "stream", silent)

        async def main() -> None:
            generation = self.a_generation(plane)
            await generation.start(None)
            async with asyncio.timeout(0.1):
                await generation.events()

        with pytest.raises(TimeoutError):
            plane.run(main)
        assert plane.held() == {}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[request id: 1] Exceeds maximum queue size", Code.UNAVAILABLE),
        ("Request timeout expired", Code.UNAVAILABLE),
        ("Failed to process the request(s) for model instance 'm'", Code.INTERNAL),
        ("unexpected shape", Code.INVALID_ARGUMENT),
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
