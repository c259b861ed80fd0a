"""The channel against real grpcio servers: calls, deadlines, and connections that come and go."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque

import grpc
import pytest
from h2.settings import SettingCodes

from routing.call import Call
from routing.connectors.grpc_h2 import Channel, min_deadline
from routing.connectors.outcome import NotTaken
from tests.support.channel import a_call, run
from tests.support.deadline import eventually
from tests.support.grpc_backend import grpc_backend
from tests.support.h2_server import echo, h2_server
from transcoding.grpc_framing import encode_message
from transcoding.http2.frames import MAX_CONCURRENT_STREAMS, settings_frame
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


def test_a_connection_counts_when_the_server_has_said_what_it_allows() -> None:
    """As in gRPC's own clients. Before, a server may refuse or break off what is more than it allows."""
    greet = asyncio.Event()
    received = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet.wait()
        writer.write(settings_frame([(MAX_CONCURRENT_STREAMS, 1)]))
        while data := await reader.read(65536):
            received.extend(data)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        channel = Channel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        channel.start()
        calls = [asyncio.ensure_future(channel.unary(a_call(b"one of two"))) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert (channel.connected, channel.connections) == (False, 0)
        greet.set()
        await eventually(lambda: b"one of two" in received)
        await asyncio.sleep(0.05)
        assert received.count(b"one of two") == 1
        await channel.aclose()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0.05)  # the server sees its connection end
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize("then", ["silence", "close"])
def test_a_port_that_does_not_speak_http2_is_not_connected(then: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if then == "silence":
            await reader.read()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        changes: list[bool] = []
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        channel = Channel(address, connect_timeout=0.2, on_change=lambda: changes.append(True))
        channel.start()
        with pytest.raises(GatewayError, match="cannot be reached") as caught:
            await channel.unary(a_call())
        assert not caught.value.executed
        assert changes == []
        await channel.aclose()
        await asyncio.sleep(0.05)  # the server sees its connections end
        server.close()

    asyncio.run(main())


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


def test_one_who_knows_that_the_endpoint_is_back_need_not_wait_for_the_backoff() -> None:
    class Longest(random.Random):
        def random(self) -> float:
            return 1e6

    async def use(channel: Channel) -> None:
        await asyncio.sleep(0.1)  # the first try has failed, the next is due in a day
        with grpc_backend(port=port):
            await asyncio.sleep(0.2)
            assert not channel.connected
            channel.hurry()
            await eventually(lambda: channel.connected)
            assert (await channel.unary(a_call(b"back"))).payload == b"back"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run(f"127.0.0.1:{port}", use, rng=Longest())


def test_min_deadline() -> None:
    assert min_deadline(None, None) is None
    assert min_deadline(1.0, None) == min_deadline(None, 1.0) == min_deadline(1.0, 2.0) == 1.0


def test_calls_wait_for_room_and_each_slot_wakes_one_of_them() -> None:
    """With few streams allowed and many calls waiting, a finished call must not wake all the others."""
    waits = 0

    class Counting(deque["asyncio.Future[None]"]):
        """Each try that fails waits once more."""

        def append(self, waiter: asyncio.Future[None]) -> None:
            nonlocal waits
            waits += 1
            super().append(waiter)

        def appendleft(self, waiter: asyncio.Future[None]) -> None:
            nonlocal waits
            waits += 1
            super().appendleft(waiter)

    async def use(channel: Channel) -> None:
        await channel.unary(a_call())
        channel._waiting = Counting()
        replies = await asyncio.gather(*(channel.unary(a_call(b"%d" % number)) for number in range(300)))
        assert [reply.payload for reply in replies] == [b"%d" % number for number in range(300)]

    with h2_server(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 3}) as server:
        run(server.address, use)
        assert server.most_at_once <= 3
    assert 297 <= waits < 300 * 5


def test_a_call_that_gives_up_waiting_hands_its_turn_on() -> None:
    async def use(channel: Channel) -> None:
        first = asyncio.ensure_future(channel.unary(a_call(b"first")))
        await eventually(lambda: len(server.requests) == 1)
        gives_up, waits = (asyncio.ensure_future(channel.unary(a_call(name))) for name in (b"gives up", b"waits"))
        await asyncio.sleep(0)
        gives_up.cancel()
        server.loop.call_soon_threadsafe(answer_all)
        assert (await first).payload == b"first"
        assert (await waits).payload == b"waits"

    def answer_all() -> None:
        server.answer = echo
        for connection in server.connections:
            for stream, message in list(connection.open.items()):
                connection.reply(stream, message[5:])

    with h2_server(lambda *_: None, {SettingCodes.MAX_CONCURRENT_STREAMS: 1}) as server:
        run(server.address, use)
    assert len(server.requests) == 2


def test_what_a_goaway_refused_or_waited_for_room_may_be_sent_again() -> None:
    async def use(channel: Channel) -> None:
        await channel.unary(a_call(b"the server's limit is known after this"))
        server.answer = lambda *_: None
        held = [asyncio.ensure_future(channel.unary(a_call(b"%d" % number))) for number in range(4)]
        await eventually(lambda: len(server.requests) == 3)
        server.loop.call_soon_threadsafe(lambda: server.connections[0].goaway(3))
        for task in held[1:]:
            with pytest.raises(NotTaken) as caught:
                await task
            assert not caught.value.executed
        server.loop.call_soon_threadsafe(lambda: server.connections[0].reply(3, b"done"))
        assert (await held[0]).payload == b"done"
        server.answer = echo
        assert (await channel.unary(a_call(b"again"))).payload == b"again"

    with h2_server(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2}) as server:
        run(server.address, use)
    assert len(server.connections) == 2


def test_what_a_closing_connection_did_not_write_was_not_sent() -> None:
    async def use(channel: Channel) -> None:
        await eventually(lambda: channel.connected)
        task = asyncio.ensure_future(channel.unary(a_call()))
        await asyncio.sleep(0)  # the call has its stream; the write is due at the end of this turn
        channel._connections[0].close()
        with pytest.raises(NotTaken):
            await task

    with h2_server() as server:
        run(server.address, use)
    assert server.requests == []
