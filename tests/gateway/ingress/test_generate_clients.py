"""Generations that end early: by a deadline, by clients that leave, are slow, or take nothing at all."""

from __future__ import annotations

import asyncio
import gc
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from gateway.ingress.generate import Generation
from routing.match import View
from tests.support.data_plane import PlaneThread, a_plane, a_route
from tests.support.deadline import until
from tests.support.generation import LLM, ONCE, ONE, STREAM, connect, outs, repeat_all
from tests.support.model_server import (
    ModelServer,
    final_of,
    ints_reply,
    model_server,
    streamed,
)
from tests.support.stream_client import stands_still
from transcoding.dialects.oip_paths import route
from transcoding.status import GatewayError


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(models={"llm": LLM, "once": ONCE}, stream=repeat_all) as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


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


class TestAbandoned:
    """A generation whose events nobody takes."""

    def a_generation(self, plane: PlaneThread) -> Generation:
        match = route(b"POST", STREAM.encode())
        assert not isinstance(match, GatewayError)
        return Generation(plane.plane, match, b'{"IN":[1,2,3]}', b"", View("rest", "generate", match.model, {}))

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
            async with asyncio.timeout(0.1):
                await self.a_generation(plane).start(None)

        with pytest.raises(TimeoutError):
            plane.run(main)
        assert plane.held() == {}
