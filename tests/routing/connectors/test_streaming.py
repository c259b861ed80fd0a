"""Bidirectional streams: messages, ends, errors and back-pressure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import pytest

from routing.connectors.grpc_h2 import Channel
from tests.support.channel import run
from tests.support.grpc_backend import grpc_backend
from tests.support.h2_server import HEAD, OK, H2Connection, h2_server
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError


class Sink:
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended: asyncio.Future[GatewayError | None] = asyncio.get_running_loop().create_future()
        self.arrived = asyncio.Event()

    def message_received(self, message: bytes | memoryview) -> None:
        self.messages.append(bytes(message))
        self.arrived.set()

    def stream_ended(self, error: GatewayError | None) -> None:
        self.ended.set_result(error)

    def upstream_writable(self) -> None:
        pass


PATH = BY_NAME["ModelStreamInfer"].path


def test_streams_pass_messages_both_ways_and_end() -> None:
    async def use(channel: Channel) -> None:
        sink = Sink()
        attempt = await channel.stream(PATH, sink)
        for text in (b"a", b"b" * 100_000, b"c"):
            attempt.send((encode_message((text,)),))
        attempt.half_close()
        assert await sink.ended is None
        assert sink.messages == [b"a", b"b" * 100_000, b"c"]

    with grpc_backend() as address:
        run(address, use)


def test_a_paused_sink_stops_the_endpoint() -> None:
    sent = 0

    def flood(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        nonlocal sent
        next(messages)
        for _ in range(600):
            sent += 1
            yield b"x" * 65536

    async def use(channel: Channel) -> None:
        sink = Sink()
        attempt = await channel.stream(PATH, sink)
        attempt.pause()
        attempt.send((encode_message((b"go",)),))
        await sink.arrived.wait()
        before = -1
        while before != len(sink.messages):
            before = len(sink.messages)
            await asyncio.sleep(0.2)
        assert before * 65536 <= 4 * 2**20
        attempt.resume()
        assert await sink.ended is None
        assert len(sink.messages) == 600

    with grpc_backend(stream=flood) as address:
        run(address, use)


@pytest.mark.parametrize("tail", [encode_message((b"cut off",))[:-3], b"\0\0", b"\7\0\0\0\1x"])
def test_a_stream_that_ends_inside_a_message_or_has_none_may_have_run(tail: bytes) -> None:
    def answer(connection: H2Connection, stream: int, message: bytes) -> None:
        connection.peer.connection.send_headers(stream, HEAD)
        connection.peer.send_body(stream, encode_message((b"whole",)) + tail, OK)

    async def use(channel: Channel) -> None:
        sink = Sink()
        attempt = await channel.stream(PATH, sink)
        attempt.send((encode_message((b"a",)),), end=True)
        error = await sink.ended
        assert error is not None
        assert (error.code, error.http_status, error.fault) == (Code.INTERNAL, 502, Fault.WORKER)
        assert error.executed

    with h2_server(answer) as server:
        run(server.address, use)


def test_a_compressed_message_that_nobody_asked_for_is_refused() -> None:
    async def use(channel: Channel) -> None:
        sink = Sink()
        attempt = await channel.stream(PATH, sink)
        attempt.send((encode_message((b"a" * 1000,)),))
        error = await sink.ended
        assert error is not None
        assert (error.code, error.http_status, error.fault) == (Code.INTERNAL, 502, Fault.WORKER)
        assert "compressed" in error.message
        assert error.executed
        assert sink.messages == []

    with grpc_backend(compression=grpc.Compression.Gzip) as address:
        run(address, use)


def test_a_streams_error_is_told() -> None:
    def fail(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield next(messages)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")

    async def use(channel: Channel) -> None:
        sink = Sink()
        attempt = await channel.stream(PATH, sink)
        attempt.send((encode_message((b"a",)),))
        error = await sink.ended
        assert error is not None
        assert (error.code, error.message, sink.messages) == (Code.RESOURCE_EXHAUSTED, "enough", [b"a"])

    with grpc_backend(stream=fail) as address:
        run(address, use)
