"""Our channel before servers made of python-hyper's `h2`, which say what RFC 9113 allows and no gRPC server happens to.

What a Triton or grpcio server does say is in `test_interop_servers`; the state machine alone in `test_oracle`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.settings import SettingCodes

from routing.connectors.grpc_h2 import Channel
from tests.support.channel import a_call, echoes, run
from tests.support.deadline import eventually
from tests.support.h2_server import HEAD, OK, H2Connection, H2Server, h2_server
from transcoding.grpc_framing import encode_message
from transcoding.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PRIORITY,
    SETTINGS,
    WITH_PRIORITY,
    frame,
    settings_frame,
)
from transcoding.methods import BY_NAME

ALTSVC, ORIGIN, GREASE = 0xA, 0xC, 0xEE  # of RFC 7838, RFC 8336 and nobody
LARGE = bytes(range(256)) * 4096  # 1 MiB
STREAM = BY_NAME["ModelStreamInfer"].path


async def change(server: H2Server, settings: dict[SettingCodes, int]) -> None:
    """The server's newest connection has announced these settings, and the channel knows."""
    connection = server.connections[-1]

    def announce() -> None:
        connection.peer.connection.update_settings(settings)
        connection.flush()

    server.later(announce)
    current = connection.peer.connection.local_settings
    await eventually(lambda: all(current[code] == value for code, value in settings.items()))


class TestSettings:
    def test_header_table(self) -> None:
        """A strict decoder, as h2's is, wants to hear that a table which must be empty is."""

        async def use(channel: Channel) -> None:
            for size in (0, 4096, 0, 65_536, 1):
                assert await echoes(channel, b"before")
                await change(server, {SettingCodes.HEADER_TABLE_SIZE: size})
                assert await echoes(channel, b"a", b"b")
            assert len(server.connections) == 1

        with h2_server(settings={SettingCodes.HEADER_TABLE_SIZE: 0}) as server:
            run(server.address, use)

    def test_frame_size(self) -> None:
        """h2 fails a connection on which a frame is larger than it allows."""

        async def use(channel: Channel) -> None:
            for size in (2**24 - 1, 16_384, 20_000):
                await change(server, {SettingCodes.MAX_FRAME_SIZE: size})
                assert await echoes(channel, LARGE, b"", LARGE[:30_000])
            assert len(server.connections) == 1

        with h2_server(settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**20}) as server:
            run(server.address, lambda channel: self._connected(server, channel, use))

    async def _connected(self, server: H2Server, channel: Channel, use: Any) -> None:
        assert await echoes(channel, b"the connection is there")
        await use(channel)

    @pytest.mark.parametrize("window", [1, 100, 65_535])
    def test_window(self, window: int) -> None:
        async def use(channel: Channel) -> None:
            size = 20 * window if window < 1000 else len(LARGE)
            assert await echoes(channel, LARGE[:size], b"small", LARGE[:size])

        with h2_server(settings={SettingCodes.INITIAL_WINDOW_SIZE: window}) as server:
            run(server.address, use)

    def test_a_window_that_shrinks_below_what_was_sent(self) -> None:
        """RFC 9113 §6.9.2: the window of an open stream becomes negative, and nothing leaves until it is not. The frame
        is made by hand, so h2 itself allows what the channel must not send."""
        sent, allowed = 65_535, 5000

        def received() -> int:
            return len(server.connections[0].peer.streams[1].body)

        def shrink() -> None:
            connection = server.connections[0]
            connection.raw(settings_frame([(INITIAL_WINDOW_SIZE, 1000)]))
            for stream in (1, 0):
                connection.peer.connection.increment_flow_control_window(sent - 1000 + allowed, stream or None)
            connection.flush()

        def grow() -> None:
            for stream in (1, 0):
                server.connections[0].peer.connection.increment_flow_control_window(2**20, stream or None)
            server.connections[0].flush()

        async def use(channel: Channel) -> None:
            task = asyncio.ensure_future(channel.unary(a_call(LARGE)))
            await eventually(lambda: server.connections)
            await eventually(lambda: received() == sent)
            server.later(shrink)
            await eventually(lambda: received() >= sent + allowed)
            await asyncio.sleep(0.1)
            assert received() == sent + allowed
            server.later(grow)
            assert bytes((await task).payload) == LARGE

        with h2_server(acknowledges=False) as server:
            run(server.address, use)

    def test_streams(self) -> None:
        """No stream is allowed for a while: calls wait, and none is lost."""

        async def use(channel: Channel) -> None:
            assert await echoes(channel, b"the connection is there")
            await change(server, {SettingCodes.MAX_CONCURRENT_STREAMS: 0})
            waiting = asyncio.ensure_future(echoes(channel, *(b"%d" % number for number in range(20))))
            await asyncio.sleep(0.1)
            assert len(server.requests) == 1
            await change(server, {SettingCodes.MAX_CONCURRENT_STREAMS: 2})
            assert await waiting
            assert server.most_at_once <= 2

        with h2_server() as server:
            run(server.address, use)


class TestFrames:
    @pytest.mark.parametrize(("padding", "piece"), [(0, 1), (255, 1), (255, 10_000), (None, 1)])
    def test_padding_and_tiny_pieces(self, padding: int | None, piece: int) -> None:
        size = 3000 if piece == 1 else len(LARGE)

        async def use(channel: Channel) -> None:
            assert await echoes(channel, LARGE[:size], b"x", LARGE[:size])

        with h2_server(lambda *answer: self._padded(padding, piece, *answer)) as server:
            run(server.address, use)

    def test_padding_beyond_the_streams_window(self) -> None:
        """Padding counts for flow control, so it must be given back: here it is more than the window by itself."""
        size = 20_000

        async def use(channel: Channel) -> None:
            assert await echoes(channel, LARGE[:size])

        with h2_server(lambda *answer: self._padded(255, 1, *answer)) as server:
            run(server.address, use)

    @staticmethod
    def _padded(padding: int | None, piece: int, connection: H2Connection, stream: int, message: bytes) -> None:
        connection.peer.padding, connection.peer.piece = padding, piece
        connection.reply(stream, message)

    @pytest.mark.parametrize("pieces", [2, 5])
    def test_heads_and_trailers_in_continuations(self, pieces: int) -> None:
        def blocks(connection: H2Connection, stream: int, fields: Any, end: int) -> list[bytes]:
            block = connection.peer.connection.encoder.encode(fields)
            size = len(block) // (pieces - 1)
            cut = [block[at : at + size] for at in range(0, len(block), size)] + [b""]
            kinds = [(HEADERS, end)] + [(CONTINUATION, 0)] * (len(cut) - 1)
            kinds[-1] = (CONTINUATION, END_HEADERS)
            return [frame(kind, flags, stream, part) for (kind, flags), part in zip(kinds, cut, strict=True)]

        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            del connection.open[stream]
            long = [(b"x-long", b"l" * 9000), (b"x-other", b"\xff" * 9000)]
            connection.raw(
                *blocks(connection, stream, [*HEAD, *long], 0),
                frame(DATA, 0, stream, encode_message((message,))),
                *blocks(connection, stream, [*OK, *long], END_STREAM),
            )

        async def use(channel: Channel) -> None:
            assert await echoes(channel, b"one", b"two")
            assert await echoes(channel, b"three")
            assert len(server.connections) == 1

        with h2_server(answer) as server:
            run(server.address, use)

    def test_padded_heads_with_priority(self) -> None:
        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            encode = connection.peer.connection.encoder.encode
            del connection.open[stream]
            head = b"\x0a" + b"\0\0\0\0\x10" + encode(HEAD) + bytes(10)
            connection.raw(
                frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, stream, head),
                frame(DATA, PADDED, stream, b"\x03" + encode_message((message,)) + bytes(3)),
                frame(HEADERS, END_HEADERS | END_STREAM, stream, encode(OK)),
            )

        async def use(channel: Channel) -> None:
            assert await echoes(channel, b"one", b"two")

        with h2_server(answer) as server:
            run(server.address, use)

    def test_informational_responses_come_first(self) -> None:
        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            for fields in ([(b":status", b"100")], [(b":status", b"103"), (b"link", b"</style.css>")]):
                connection.peer.connection.send_headers(stream, fields)
            connection.reply(stream, message)

        async def use(channel: Channel) -> None:
            assert await echoes(channel, b"one", b"two")

        with h2_server(answer) as server:
            run(server.address, use)

    def test_what_is_not_known_is_ignored(self) -> None:
        """RFC 9113 §4.1, §6.5.2: frames, flags and settings of extensions; PRIORITY, ALTSVC and ORIGIN."""

        def answer(connection: H2Connection, stream: int, message: bytes) -> None:
            connection.raw(
                frame(GREASE, 0xFF, stream, b"grease"),
                frame(GREASE, 0xFF, 0, bytes(1000)),
                frame(SETTINGS, 0, 0, b"\x2a\x2a\xff\xff\xff\xff"),
                frame(PRIORITY, 0, stream, b"\0\0\0\0\x10"),
                frame(ALTSVC, 0, 0, b"\0\0h3=:443"),
                frame(ORIGIN, 0, 0, b"\0\x0ehttps://a.test"),
            )
            connection.reply(stream, message)

        async def use(channel: Channel) -> None:
            assert await echoes(channel, b"one", b"two")
            assert len(server.connections) == 1

        with h2_server(answer) as server:
            run(server.address, use)

    def test_pings_are_answered_while_a_call_waits(self) -> None:
        def ping() -> None:
            for number in range(10):
                server.connections[0].peer.connection.ping(b"%08d" % number)
            server.connections[0].flush()

        async def use(channel: Channel) -> None:
            task = asyncio.ensure_future(channel.unary(a_call(b"held")))
            await eventually(lambda: server.requests)
            server.later(ping)
            await eventually(lambda: server.connections[0].peer.pongs == 10)
            server.later(lambda: server.connections[0].reply(1, b"done"))
            assert (await task).payload == b"done"

        with h2_server(lambda *_: None) as server:
            run(server.address, use)
