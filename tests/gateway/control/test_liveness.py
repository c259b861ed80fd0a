"""One question, asked again and again: real gRPC servers that answer, fail, end and are replaced."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager

import grpc
import pytest

from gateway.control.liveness import EXITING, NotLive, Probe, failure
from tests.support.index_server import IndexServer


@pytest.fixture
def server() -> Iterator[IndexServer]:
    server = IndexServer()
    server.start()
    yield server
    server.stop()


def play(address: str, scene: Callable[[Probe], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        probe = Probe(address)
        try:
            async with asyncio.timeout(20):
                await scene(probe)
        finally:
            probe.close()

    asyncio.run(run())


def test_a_connection_is_kept(server: IndexServer) -> None:
    async def scene(probe: Probe) -> None:
        assert [await probe.ask(5.0) for _ in range(5)] == [True, False, False, False, False]

    play(server.address, scene)
    assert server.polls == 5


def test_another_process_at_the_address_is_noticed(server: IndexServer) -> None:
    async def scene(probe: Probe) -> None:
        await probe.ask(5.0)
        await asyncio.to_thread(server.stop)
        server.start(server.address)
        assert await probe.ask(5.0)
        assert not await probe.ask(5.0)

    play(server.address, scene)


def test_the_server_itself_says_no(server: IndexServer) -> None:
    async def scene(probe: Probe) -> None:
        server.live = False
        with pytest.raises(NotLive, match="the server says that it is not live") as caught:
            await probe.ask(5.0)
        assert caught.value.told
        server.live_fault = grpc.StatusCode.UNAVAILABLE
        with pytest.raises(NotLive, match="UNAVAILABLE: told to fail") as caught:
            await probe.ask(5.0)
        assert not caught.value.told  # perhaps a proxy's words

    play(server.address, scene)


def test_what_stands_still_is_not_waited_for(server: IndexServer) -> None:
    async def scene(probe: Probe) -> None:
        await probe.ask(5.0)
        server.hang.clear()
        with pytest.raises(NotLive, match=r"no answer within 0\.1 s"):
            await probe.ask(0.1)
        server.hang.set()
        assert await probe.ask(5.0)

    play(server.address, scene)


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100), b"\xff" * 100])
def test_what_is_no_grpc_server_is_not_live(answer: bytes) -> None:
    async def run() -> None:
        async with listening(answer) as address:
            probe = Probe(address)
            with pytest.raises(NotLive) as caught:
                await probe.ask(5.0)
            assert not caught.value.told

    asyncio.run(run())


def test_a_closed_port_is_known_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"

    async def scene(probe: Probe) -> None:
        with pytest.raises(NotLive, match="Connection refused"):
            await probe.ask(20.0)

    play(address, scene)


def test_answers() -> None:
    assert failure((0, ""), b"\0\0\0\0\2\x08\1") is None
    assert str(failure((0, ""), bytes(5))) == "the server says that it is not live"
    assert "no status" in str(failure(None, b""))
    assert str(failure((99, "odd"), b"")) == "99: odd"
    exiting = failure((14, EXITING), b"")
    assert exiting is not None
    assert exiting.told
