"""How calls end, and which may be sent again, before servers made of python-hyper's `h2`."""

from __future__ import annotations

import asyncio

import pytest

from routing.connectors.grpc_h2 import Channel
from routing.connectors.outcome import NotTaken
from routing.pool import Pool
from tests.support.channel import Sink, a_call, echoes, run, run_pool
from tests.support.deadline import eventually
from tests.support.h2_server import HEAD, OK, REFUSED_STREAM, H2Connection, H2Server, echo, h2_server
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME
from transcoding.status import Code, GatewayError

INTERNAL_ERROR, ENHANCE_YOUR_CALM = 2, 11
LARGE = bytes(range(256)) * 4096  # 1 MiB
STREAM = BY_NAME["ModelStreamInfer"].path


class TestEnds:
    def test_an_error_in_one_block_with_much_detail(self) -> None:
        details = [
            (b"grpc-status", b"5"),
            (b"grpc-message", b"gone%20away"),
            (b"grpc-status-details-bin", b"A" * 20_000),
        ]

        async def use(channel: Channel) -> None:
            with pytest.raises(GatewayError, match="gone away") as caught:
                await channel.unary(a_call())
            assert caught.value.code is Code.NOT_FOUND

        with h2_server(lambda connection, stream, _: connection.end(stream, [*HEAD, *details])) as server:
            run(server.address, use)

    def test_a_reset_in_mid_answer_is_of_one_call_only(self) -> None:
        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            if message != b"broken":
                return connection.reply(stream, message)
            connection.peer.connection.send_headers(stream, HEAD)
            connection.peer.connection.send_data(stream, encode_message((b"x" * 1000,))[:500])
            return connection.reset(stream, INTERNAL_ERROR)

        async def use(channel: Channel) -> None:
            good, bad = asyncio.ensure_future(echoes(channel, *[b"good"] * 20)), channel.unary(a_call(b"broken"))
            with pytest.raises(GatewayError, match="broke off") as caught:
                await bad
            assert (caught.value.executed, caught.value.http_status) == (True, 502)
            assert await good
            assert len(server.connections) == 1

        with h2_server(answer) as server:
            run(server.address, use)

    def test_an_answer_that_ends_without_trailers(self) -> None:
        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            connection.peer.connection.send_headers(stream, HEAD)
            connection.peer.send_body(stream, encode_message((message,)), None)

        async def use(channel: Channel) -> None:
            with pytest.raises(GatewayError, match="PROTOCOL_ERROR") as caught:
                await channel.unary(a_call())
            assert caught.value.executed

        with h2_server(answer) as server:
            run(server.address, use)

    def test_an_answer_before_the_upload_is_over(self) -> None:
        """RFC 9113 §8.1: the server then resets the stream with NO_ERROR, and the answer stands."""

        def answer() -> None:
            connection = server.connections[0]
            connection.reply(1, b"enough")
            connection.reset(1, 0)
            connection.peer.acknowledges = True
            connection.peer.connection.increment_flow_control_window(2**20)
            connection.flush()

        async def use(channel: Channel) -> None:
            task = asyncio.ensure_future(channel.unary(a_call(LARGE)))
            await eventually(lambda: server.connections)
            await eventually(lambda: server.connections[0].peer.streams[1].body)
            server.later(answer)
            assert (await task).payload == b"enough"
            assert await echoes(channel, LARGE, b"next")
            assert len(server.connections) == 1

        with h2_server(acknowledges=False) as server:
            run(server.address, use)


class TestRetries:
    """What provably was not executed is sent again, and nothing else is: `executed` are the messages that were."""

    @staticmethod
    async def _all(pool: Pool, count: int) -> None:
        replies = await asyncio.gather(*(pool.forward(a_call(b"%d" % number)) for number in range(count)))
        assert [bytes(reply.payload) for reply in replies] == [b"%d" % number for number in range(count)]
        assert pool.endpoints[0].in_flight == 0

    def test_refused_streams(self) -> None:
        executed: list[bytes] = []
        refused: list[bytes] = []

        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            if message not in refused:
                refused.append(message)
                return connection.reset(stream, REFUSED_STREAM)
            executed.append(message)
            return connection.reply(stream, message)

        with h2_server(answer) as server:
            run_pool([server.address], lambda pool: self._all(pool, 20))
        assert sorted(executed) == sorted(refused)
        assert len(executed) == 20

    @pytest.mark.parametrize("taken", [0, 1, 7])
    def test_streams_above_the_last_of_a_goaway(self, taken: int) -> None:
        executed: list[bytes] = []

        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            if connection is not server.connections[0]:
                executed.append(message)
                connection.reply(stream, message)
            elif len(connection.open) == 10:
                first = sorted(connection.open.items())[:taken]
                connection.goaway(first[-1][0] if first else 0)
                for number, body in first:
                    executed.append(body[5:])
                    connection.reply(number, body[5:])

        with h2_server(answer) as server:
            run_pool([server.address], lambda pool: self._all(pool, 10))
        assert sorted(executed) == sorted(b"%d" % number for number in range(10))
        assert len(server.connections) == 2

    def test_a_goaway_with_an_error(self) -> None:
        """As gRPC servers say to clients whose pings they find too many. What was taken may have run."""

        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            if len(connection.open) == 2 and connection is server.connections[0]:
                connection.goaway(min(connection.open), ENHANCE_YOUR_CALM)
                connection.close()
            elif connection is not server.connections[0]:
                connection.reply(stream, message)

        async def use(channel: Channel) -> None:
            taken, refused = (asyncio.ensure_future(channel.unary(a_call(name))) for name in (b"taken", b"refused"))
            with pytest.raises(GatewayError) as caught:
                await taken
            assert caught.value.executed
            with pytest.raises(NotTaken):
                await refused
            assert await echoes(channel, b"next")

        with h2_server(answer) as server:
            run(server.address, use)

    def test_a_server_that_closes_idle_connections_without_a_word(self) -> None:
        async def use(channel: Channel) -> None:
            for number in range(5):
                assert await echoes(channel, b"a", b"b")
                server.later(server.connections[-1].close)
                await connected_again(server, number + 2)

        with h2_server() as server:
            run(server.address, use)


async def connected_again(server: H2Server, count: int) -> None:
    """The channel has made so many connections, one after the other."""
    await eventually(lambda: len(server.connections) == count and server.connections[-2]._transport is None)


class TestStreams:
    def test_a_goaway_lets_a_stream_finish(self) -> None:
        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            if connection is not server.connections[0]:
                return echo(connection, stream, message)
            connection.peer.connection.send_headers(stream, HEAD)
            connection.goaway(stream)
            return connection.peer.send_body(stream, encode_message((message,)) * 3, OK)

        async def use(channel: Channel) -> None:
            sink = Sink()
            attempt = await channel.stream(STREAM, sink)
            attempt.send((encode_message((b"hello",)),), end=True)
            assert await sink.ended is None
            assert sink.messages == [b"hello"] * 3
            assert await echoes(channel, b"on another connection")
            assert len(server.connections) == 2

        with h2_server(answer) as server:
            run(server.address, use)

    def test_a_reset_ends_a_stream_after_what_came(self) -> None:
        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            connection.peer.connection.send_headers(stream, HEAD)
            connection.peer.connection.send_data(stream, encode_message((message,)) + b"\0\0\0")
            connection.reset(stream, INTERNAL_ERROR)

        async def use(channel: Channel) -> None:
            sink = Sink()
            attempt = await channel.stream(STREAM, sink)
            attempt.send((encode_message((b"hello",)),), end=True)
            error = await sink.ended
            assert error is not None
            assert (error.code, error.executed) == (Code.UNAVAILABLE, True)
            assert sink.messages == [b"hello"]

        with h2_server(answer) as server:
            run(server.address, use)
