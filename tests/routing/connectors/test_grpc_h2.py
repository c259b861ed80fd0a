"""The channel against real grpcio servers: calls, deadlines, and connections that come and go."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest

from routing.call import Call
from routing.connectors.grpc_h2 import Channel, min_deadline
from tests.support.channel import a_call, run
from tests.support.grpc_backend import grpc_backend
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError

INFER = BY_NAME["ModelInfer"]


def test_unary_gives_back_the_framed_message() -> None:
    with grpc_backend() as address:

        async def use(channel: Channel) -> None:
            assert (await channel.unary(a_call(b"x" * 100))).payload == b"x" * 100
            assert (await channel.unary(a_call(b""))).payload == b""
            assert channel.connected
            assert channel.connections == 1

        run(address, use)


def test_large_messages_in_several_buffers_pass_both_ways() -> None:
    payload = bytes(range(256)) * 20_000  # 5 MB, beyond every window

    async def use(channel: Channel) -> None:
        message = encode_message((payload,))
        parts = (message[:1000], memoryview(message)[1000:2_000_000], message[2_000_000:])
        assert bytes((await channel.unary(Call(INFER, "m", "", parts))).payload) == payload

    with grpc_backend() as address:
        run(address, use)


def test_many_calls_share_a_connection() -> None:
    async def use(channel: Channel) -> None:
        replies = await asyncio.gather(*(channel.unary(a_call(b"%d" % number)) for number in range(500)))
        assert [reply.payload for reply in replies] == [b"%d" % number for number in range(500)]

    with grpc_backend() as address:
        run(address, use)


def test_several_connections_are_used_in_turn() -> None:
    peers = set()

    def note(message: bytes, context: grpc.ServicerContext) -> bytes:
        peers.add(context.peer())
        return message

    async def use(channel: Channel) -> None:
        while channel.connections < 3:
            await asyncio.sleep(0.01)
        for _ in range(6):
            await channel.unary(a_call())

    with grpc_backend(note) as address:
        run(address, use, connections=3)
    assert len(peers) == 3


def test_metadata_and_deadline_travel() -> None:
    seen: dict[str, object] = {}

    def note(message: bytes, context: grpc.ServicerContext) -> bytes:
        seen.update(dict(context.invocation_metadata()))
        seen["left"] = context.time_remaining()
        return message

    async def use(channel: Channel) -> None:
        from transcoding.http2 import hpack

        deadline = channel.loop.time() + 7.0
        await channel.unary(a_call(metadata=hpack.encode([(b"traceparent", b"00-ab-cd-01")]), deadline=deadline))

    with grpc_backend(note) as address:
        run(address, use)
    assert seen["traceparent"] == "00-ab-cd-01"
    assert 5.0 < float(str(seen["left"])) <= 7.0


def test_an_unreachable_endpoint_is_a_bad_gateway_that_was_never_executed() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def use(channel: Channel) -> None:
        with pytest.raises(GatewayError, match=f"127.0.0.1:{port} cannot be reached") as caught:
            await channel.unary(a_call())
        assert (caught.value.http_status, caught.value.executed) == (502, False)

    run(f"127.0.0.1:{port}", use, connect_timeout=0.2)


def test_a_channel_comes_back_with_its_endpoint() -> None:
    changes: list[bool] = []

    async def use(channel: Channel) -> None:
        await channel.unary(a_call())
        servers.pop().__exit__(None, None, None)
        while channel.connected:
            await asyncio.sleep(0.01)
        again = grpc_backend(port=port)
        again.__enter__()
        servers.append(again)
        while not channel.connected:
            await asyncio.sleep(0.01)
        assert (await channel.unary(a_call(b"back"))).payload == b"back"

    first = grpc_backend()
    address = first.__enter__()
    port = int(address.rpartition(":")[2])
    servers = [first]
    try:
        run(address, use, on_change=lambda: changes.append(True))
    finally:
        servers.pop().__exit__(None, None, None)
    assert len(changes) >= 3


def test_min_deadline() -> None:
    assert min_deadline(None, None) is None
    assert min_deadline(1.0, None) == min_deadline(None, 1.0) == min_deadline(1.0, 2.0) == 1.0
