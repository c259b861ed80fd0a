"""Streams whose clients or workers are slow: everything that waits is bounded, and goes on afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from config.schema import Limits
from gateway.ingress import grpc_stream as module
from tests.support.data_plane import a_listener, a_plane
from tests.support.deadline import until
from tests.support.h2_client import framed, h2_client
from tests.support.model_server import (
    final_of,
    ints_reply,
    model_server,
    numbers_of,
    request_of,
    streamed,
)
from tests.support.stream_client import (
    PATH,
    by_model,
    once,
    stands_still,
    stands_still_at,
)


class TestPressure:
    def test_a_client_that_does_not_read_stops_the_worker(self) -> None:
        total, size = 3000, 4000
        made: list[int] = []

        def flood(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            for number in range(total):
                made.append(number)
                yield streamed(ints_reply(request, [number] * (size // 4)))
            yield final_of(request)

        with model_server(stream=by_model(m=flood)) as server, a_plane(server.address) as plane:
            with h2_client(plane.port(), window=20_000, credit=False) as client:
                stream = client.grpc(PATH)
                client.send(stream, framed(request_of().SerializeToString()), end=True)
                until(lambda: stands_still(made), 20)
                assert len(made) * size < 8_000_000
                client.receive()
                client.credit = True
                client.give(stream)
                call = client.finish(stream)
                assert (call.status, len(call.messages)) == ("0", total)
            plane.wait_idle()

    def test_a_client_that_pauses_now_and_then_is_resumed(self) -> None:
        """What waits for the client stays small, so nothing tells of its window; the worker's must not dwindle."""
        rounds, size = 115, 40_000

        with model_server(stream=by_model(m=once)) as server, a_plane(server.address) as plane:
            with h2_client(plane.port(), window=30_000, credit=False) as client:
                stream = client.grpc(PATH)
                request = framed(request_of(numbers=[1] * (size // 4)).SerializeToString())
                for number in range(1, rounds + 1):
                    client.send(stream, request)
                    while len(client.calls[stream].data) < number * size:
                        client.receive()
                        client.give(stream)
                client.send(stream, b"", end=True)
                client.credit = True
                assert client.finish(stream).status == "0"
            plane.wait_idle()

    def test_a_slow_client_does_not_hold_up_the_others(self) -> None:
        def flood(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            while context.is_active():
                yield streamed(ints_reply(request, [0] * 25_000))

        with model_server(stream=by_model(m=flood)) as server, a_plane(server.address) as plane:
            with h2_client(plane.port(), window=20_000, credit=False) as client:
                for _ in range(6):
                    client.send(client.grpc(PATH), framed(request_of().SerializeToString()))
                until(lambda: plane.held().get("at endpoints") == 6, 5)
                time.sleep(1.0)
                assert numbers_of(plane.stub().ModelInfer(request_of(), timeout=5)) == [1, 2, 3]
            plane.wait_idle()

    def test_a_worker_that_does_not_read_stops_the_client(self) -> None:
        gate = threading.Event()

        def stuck(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            gate.wait(15)
            for request in requests:
                yield streamed(ints_reply(request, [1]), final=True)

        total = 200
        message = framed(request_of(numbers=[0] * 25_000).SerializeToString())
        with model_server(stream=stuck) as server, a_plane(server.address) as plane:
            with h2_client(plane.port()) as client:
                stream = client.grpc(PATH)
                sender = threading.Thread(target=client.send, args=(stream, message * total, True), daemon=True)
                sender.start()
                until(lambda: stands_still_at(lambda: plane.held().get("buffered", 0)), 20)
                assert 0 < plane.held()["buffered"] < 2_000_000
                assert sender.is_alive()
                gate.set()
                sender.join(20)
                assert client.finish(stream).status == "0"
                assert len(client.calls[stream].messages) == total
            plane.wait_idle()

    def test_requests_that_are_not_answered_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "OUTSTANDING_REQUESTS", 2)
        gate = threading.Event()
        taken: list[Any] = []

        def hoard(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            def take() -> None:
                taken.extend(requests)

            reader = threading.Thread(target=take)
            reader.start()
            gate.wait(15)
            for number in range(total):
                until(lambda number=number: len(taken) > number, 10)  # type: ignore[misc]
                yield streamed(ints_reply(taken[number], [1]), final=True)

        total = 40
        message = framed(request_of(numbers=[0] * 25_000, id="x").SerializeToString())
        with model_server(stream=hoard) as server, a_plane(server.address) as plane:
            with h2_client(plane.port()) as client:
                stream = client.grpc(PATH)
                sender = threading.Thread(target=client.send, args=(stream, message * total, True), daemon=True)
                sender.start()
                until(lambda: len(taken) >= 2, 10)
                until(lambda: stands_still(taken), 10)
                assert len(taken) < 8
                gate.set()
                sender.join(20)
                assert (client.finish(stream).status, len(client.calls[stream].messages)) == ("0", total)
            plane.wait_idle()

    def test_what_waits_for_slow_clients_is_bounded_together(self) -> None:
        def flood(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            while context.is_active():
                yield streamed(ints_reply(request, [0] * 25_000))

        limits = Limits(buffered_bytes=500_000)
        with (
            model_server(stream=by_model(m=flood)) as server,
            a_plane(server.address, listen=[a_listener(limits=limits)]) as plane,
        ):
            with h2_client(plane.port(), window=20_000, credit=False) as client:
                stream = client.grpc(PATH)
                client.send(stream, framed(request_of().SerializeToString()))
                until(lambda: plane.codes() == {"RESOURCE_EXHAUSTED": 1}, 5)
            plane.wait_idle()

    def test_what_waits_is_counted_for_the_listener(self) -> None:
        gate = threading.Event()

        def stuck(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            gate.wait(15)
            yield from ()

        message = framed(request_of(numbers=[0] * 200_000).SerializeToString())
        limits = Limits(buffered_bytes=500_000)
        with (
            model_server(stream=stuck) as server,
            a_plane(server.address, listen=[a_listener(limits=limits)]) as plane,
        ):
            with h2_client(plane.port()) as client:
                stream = client.grpc(PATH)
                client.send(stream, message[:400_000])
                until(lambda: plane.held().get("buffered") == 400_000, 5)
                other = client.grpc(PATH)
                client.send(other, message[:200_000])
                call = client.finish(other)
                assert (call.status, call.message) == ("8", "too many bytes are waiting in this worker")
            plane.wait_idle()
        gate.set()
