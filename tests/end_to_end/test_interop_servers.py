"""Our channel before real gRPC servers: grpcio's two kinds with their options pushed, and a Triton.

What no such server says on its own is in `test_interop_h2`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest

from routing.connectors.grpc_h2 import Channel
from routing.pool import Pool
from tests.support.channel import Sink, a_call, echoes, run, run_pool
from tests.support.deadline import eventually
from tests.support.gateway import Gateway
from tests.support.grpc_backend import AioServer, grpc_backend, new_server
from tests.support.interop_world import (
    MODELS,
    is_simple,
    is_simple_document,
    repeat_message,
    repeated,
    simple_document,
    simple_message,
)
from tests.support.messages import infer_request, messages, stub
from tests.support.rest import rest
from tests.support.sockets import clients_of
from tests.support.triton import own_triton, start_triton
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME
from transcoding.status import Code, GatewayError

LARGE = bytes(range(256)) * 16_384  # 4 MiB
STREAM = BY_NAME["ModelStreamInfer"].path
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one stream": {"max_concurrent_streams": 1},
    "small windows": {"http2_bdp_probe": 0, "http2_lookahead_bytes": 1024},
    "small frames": {"http2_max_frame_size": 16_384, "http2_write_buffer_size": 1024},
    "large frames": {"http2_max_frame_size": 2**24 - 1},
    "no header table": {"http2_hpack_table_size_decoder": 0, "http2_hpack_table_size_encoder": 0},
}


@pytest.fixture(params=OPTIONS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(OPTIONS[request.param])


@pytest.fixture(params=["sync", "aio"])
def address(request: pytest.FixtureRequest, options: dict[str, Any]) -> Iterator[str]:
    """Of a server with these options that echoes."""
    with ExitStack() as stack:
        if request.param == "sync":
            yield stack.enter_context(grpc_backend(**options))
        else:
            yield stack.enter_context(AioServer(**options)).address


class TestGrpcio:
    def test_many_at_once(self, address: str) -> None:
        async def use(channel: Channel) -> None:
            assert await echoes(channel, *(b"%d" % number for number in range(100)))
            assert channel.connections == 1

        run(address, use)

    def test_large_messages_both_ways(self, address: str) -> None:
        async def use(channel: Channel) -> None:
            assert await echoes(channel, LARGE, b"", b"small", LARGE[:100_000])

        run(address, use)

    def test_a_stream_in_lockstep(self, address: str) -> None:
        async def use(channel: Channel) -> None:
            sink = Sink()
            attempt = await channel.stream(STREAM, sink)
            sizes = [1, 0, 70_000, 2**20]
            for number, size in enumerate(sizes):
                attempt.send((encode_message((LARGE[:size],)),))
                await eventually(lambda number=number: len(sink.messages) == number + 1)
            attempt.half_close()
            assert await sink.ended is None
            assert [len(message) for message in sink.messages] == sizes

        run(address, use)


def test_one_stream_at_a_time() -> None:
    """A server that allows one never sees two, not even at the start of a connection: grpcio would break them off."""
    now, most = 0, 0
    lock = threading.Lock()

    def note(message: bytes, context: grpc.ServicerContext) -> bytes:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
        return message

    with grpc_backend(note, max_concurrent_streams=1) as address:
        for _ in range(8):
            run(address, lambda channel: echoes(channel, *(b"%d" % number for number in range(20))))
    assert most == 1


def test_a_servers_pings_with_and_without_calls() -> None:
    """grpcio, which pings once a second at most, ends a connection that does not answer in time."""
    peers: set[str] = set()

    def slow(message: bytes, context: grpc.ServicerContext) -> bytes:
        peers.add(context.peer())
        time.sleep(1.8 if message == b"slow" else 0)
        return message

    async def use(channel: Channel) -> None:
        assert await echoes(channel, b"slow")
        await asyncio.sleep(1.7)
        assert await echoes(channel, b"next")

    pings = {"keepalive_time_ms": 1000, "keepalive_timeout_ms": 500, "keepalive_permit_without_calls": 1}
    with grpc_backend(slow, http2_max_pings_without_data=0, http2_ping_timeout_ms=500, **pings) as address:
        run(address, use)
    assert len(peers) == 1


class Traffic:
    """Calls through a pool, each as soon as the one before is answered, until told to stop. All succeed, except that a
    stopping grpcio server answers CANCELLED to calls that it has not begun, whoever the client is (grpc/grpc#41785)."""

    def __init__(self, pool: Pool, at_once: int = 8) -> None:
        self.answered = 0
        self._stop = False
        self._pool = pool
        self._tasks = [asyncio.ensure_future(self._calls(number)) for number in range(at_once)]

    async def _calls(self, number: int) -> None:
        while not self._stop:
            payload = b"%d-%d" % (number, self.answered)
            try:
                assert (await self._pool.forward(a_call(payload))).payload == payload
            except GatewayError as error:
                if (error.code, error.message) != (Code.CANCELLED, "CANCELLED"):
                    raise
            self.answered += 1
            await asyncio.sleep(0.001)

    async def finish(self) -> None:
        """Raises what any of the calls did."""
        self._stop = True
        await asyncio.gather(*self._tasks)


def test_connections_of_limited_age_lose_no_call() -> None:
    peers: set[str] = set()

    def note(message: bytes, context: grpc.ServicerContext) -> bytes:
        peers.add(context.peer())
        return message

    async def use(pool: Pool) -> None:
        traffic = Traffic(pool)
        await eventually(lambda: len(peers) >= 5)
        await traffic.finish()

    with grpc_backend(note, max_connection_age_ms=100, max_connection_age_grace_ms=5000) as address:
        run_pool([address], use)


def test_a_server_that_stops_finishes_what_it_has() -> None:
    """GOAWAY, then grace: the call under way is answered, and all others go elsewhere."""
    began, end = threading.Event(), threading.Event()

    def hold(message: bytes, context: grpc.ServicerContext) -> bytes:
        if message == b"held":
            began.set()
            assert end.wait(10)
        return message

    async def use(pool: Pool) -> None:
        channel: Any = pool.endpoints[0].channel
        held = asyncio.ensure_future(channel.unary(a_call(b"held")))
        await eventually(began.is_set)
        traffic = Traffic(pool)
        await eventually(lambda: traffic.answered > 50)
        stopped = first.stop(10)
        await eventually(lambda: not channel.connected)
        before = traffic.answered
        await eventually(lambda: traffic.answered > before + 50)
        assert not held.done()
        end.set()
        assert (await held).payload == b"held"
        await traffic.finish()
        await eventually(stopped.is_set)

    first, address = new_server(hold)
    first.start()
    with grpc_backend() as other:
        run_pool([address, other], use)


def test_an_asyncio_server_that_stops_loses_no_call() -> None:
    async def use(pool: Pool) -> None:
        traffic = Traffic(pool)
        await eventually(lambda: traffic.answered > 100)
        await asyncio.to_thread(server.stop, 5.0)
        before = traffic.answered
        await eventually(lambda: traffic.answered > before + 100)
        await traffic.finish()

    with AioServer() as server, grpc_backend() as other:
        run_pool([server.address, other], use)


# Triton ---------------------------------------------------------------------------------------------------------------


@pytest.mark.triton
class TestTriton:
    """Through the channel alone: what the gateway makes of it is in the parity tests."""

    @pytest.fixture
    def address(self) -> str:
        return start_triton(MODELS).grpc_address

    def test_unary(self, address: str) -> None:
        call = simple_message().SerializeToString()

        async def use(channel: Channel) -> None:
            replies = await asyncio.gather(*(channel.unary(a_call(call)) for _ in range(200)))
            assert all(is_simple(messages.ModelInferResponse.FromString(bytes(reply.payload))) for reply in replies)
            assert channel.connections == 1

        run(address, use)

    def test_large_messages_both_ways(self, address: str) -> None:
        data = np.arange(2**20, dtype=np.float32)

        async def use(channel: Channel) -> None:
            reply = await channel.unary(a_call(infer_request("id_fp32", INPUT0=data).SerializeToString()))
            [raw] = messages.ModelInferResponse.FromString(bytes(reply.payload)).raw_output_contents
            assert raw == data.tobytes()

        run(address, use)

    def test_errors(self, address: str) -> None:
        call = infer_request("nope", INPUT0=np.zeros(1, np.float32)).SerializeToString()

        async def use(channel: Channel) -> None:
            with pytest.raises(GatewayError, match="Request for unknown model: 'nope' is not found") as caught:
                await channel.unary(a_call(call))
            assert caught.value.code in (Code.NOT_FOUND, Code.UNAVAILABLE)

        run(address, use)

    def test_a_stream_in_lockstep(self, address: str) -> None:
        async def use(channel: Channel) -> None:
            sink = Sink()
            attempt = await channel.stream(STREAM, sink)
            for number in range(5):
                attempt.send((encode_message((repeat_message([number]).SerializeToString(),)),))
                await eventually(lambda number=number: len(sink.messages) == number + 1)
            attempt.half_close()
            assert await sink.ended is None
            replies = map(messages.ModelStreamInferResponse.FromString, sink.messages)
            assert [repeated(reply) for reply in replies] == list(range(5))

        run(address, use)


@pytest.mark.triton
def test_a_triton_with_connections_of_limited_age_and_compressed_answers() -> None:
    """It ends connections all the while and may compress for those who accept that; no call is lost or garbled."""
    arguments = (
        "--grpc-max-connection-age=200",
        "--grpc-max-connection-age-grace=5000",
        "--grpc-infer-response-compression-level=high",
        "--grpc-keepalive-time=1000",
        "--grpc-keepalive-timeout=500",
        "--grpc-keepalive-permit-without-calls=1",
        "--grpc-http2-max-pings-without-data=0",
    )
    with own_triton(MODELS, arguments=arguments) as triton, Gateway([triton.grpc_address]) as gateway:
        end, connections = time.monotonic() + 1.5, set()
        with grpc.insecure_channel(gateway.address) as channel:
            service = stub(channel)
            while time.monotonic() < end:
                calls = [service.ModelInfer.future(simple_message(), timeout=20) for _ in range(20)]
                assert is_simple_document(
                    rest(gateway.address, "POST", "/v2/models/simple/infer", simple_document()).json
                )
                replies = service.ModelStreamInfer(iter([repeat_message([1, 2, 3], delay_ms=30)]), timeout=20)
                assert [repeated(reply) for reply in replies] == [1, 2, 3]
                assert all(is_simple(call.result()) for call in calls)
                connections.update(clients_of(triton.pid, triton.grpc_port))
        assert len(connections) > 5
