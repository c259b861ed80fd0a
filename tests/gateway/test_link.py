"""A worker's end of the link, against control's real end, and the link without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gateway import link as module
from gateway.control.link_server import LinkServer
from gateway.link import AWAY, DirectLink, LinkClient, LinkError, WorkerLink, frame, read_body
from gateway.world import Hello, KeySet, Outcome, Place, Places, Report, World
from tests.support.deadline import eventually
from tests.support.link_handler import Applied, Recorder, a_world

REPORT = Report(0, 1, True, {"c": {(): 1.0}}, {}, {})


class Pair:
    """A worker's link to a recorder."""

    def __init__(
        self,
        link: WorkerLink,
        handler: Recorder,
        applied: Applied,
        publish: Callable[[World], None],
        publish_keys: Callable[[KeySet, Callable[[], KeySet]], None],
        publish_places: Callable[[Places], None],
    ) -> None:
        self.link = link
        self.publish_keys = publish_keys
        self.publish_places = publish_places
        self.handler = handler
        self.applied = applied
        self.publish = publish
        handler.publish = publish


@contextlib.asynccontextmanager
async def over_a_socket() -> AsyncIterator[Pair]:
    handler, applied = Recorder(), Applied()
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory, "s"))
        server = LinkServer(path, handler)
        await server.start()
        yield Pair(
            LinkClient(path, 0, applied), handler, applied, server.publish, server.publish_keys, server.publish_places
        )
        await server.close()


@contextlib.asynccontextmanager
async def in_one_process() -> AsyncIterator[Pair]:
    handler, applied = Recorder(), Applied()
    link = DirectLink(handler, applied)
    yield Pair(link, handler, applied, link.publish, link.publish_keys, link.publish_places)


BOTH = pytest.mark.parametrize("make", [over_a_socket, in_one_process])
Make = Callable[[], contextlib.AbstractAsyncContextManager[Pair]]


def play(make: Make, scene: Callable[[Pair], Coroutine[Any, Any, None]]) -> Pair:
    """Run `scene` while the worker's end runs."""

    async def run() -> Pair:
        async with asyncio.timeout(15), make() as pair:
            running = asyncio.get_running_loop().create_task(pair.link.run())
            await scene(pair)
            running.cancel()
            await asyncio.wait([running])
            await eventually(lambda: "gone 0" in pair.handler.events)
        return pair

    return asyncio.run(run())


@BOTH
def test_the_newest_world_arrives(make: Make) -> None:
    async def scene(pair: Pair) -> None:
        pair.publish(a_world(1))
        await eventually(lambda: pair.applied.generations == [1])
        for generation in range(2, 50):
            pair.publish(a_world(generation))
        await eventually(lambda: pair.applied.generations[-1] == 49)
        assert len(pair.applied.worlds) < 10  # what is older than the newest is left out
        assert pair.applied.worlds[-1] == a_world(49)

    assert play(make, scene).handler.events == ["hello 0", "gone 0"]


@BOTH
def test_keys_arrive(make: Make) -> None:
    async def scene(pair: Pair) -> None:
        seen: list[KeySet] = []
        pair.link.on_keys = seen.append
        pair.publish(a_world(1))
        await eventually(lambda: pair.applied.worlds)
        pair.publish_keys(KeySet(False, True), lambda: KeySet(True, True))
        await eventually(lambda: seen == [KeySet(False, True)])

    play(make, scene)


@BOTH
def test_places_arrive(make: Make) -> None:
    async def scene(pair: Pair) -> None:
        seen: list[Places] = []
        pair.link.on_places = seen.append
        pair.publish(a_world(1))
        await eventually(lambda: pair.applied.worlds)
        pair.publish_places(Places({"p": Place(1, (1.0, 2.0))}))
        await eventually(lambda: seen == [Places({"p": Place(1, (1.0, 2.0))})])

    play(make, scene)


@BOTH
def test_a_refresh_returns_when_its_world_is_applied(make: Make) -> None:
    async def scene(pair: Pair) -> None:
        pair.publish(a_world(1))
        await eventually(lambda: pair.applied.worlds)
        await asyncio.gather(*(pair.link.refresh(f"p{number}") for number in range(5)))
        assert pair.applied.generations[-1] == 105
        assert pair.handler.events[1:] == [f"refresh p{number}" for number in range(5)]
        await pair.link.refresh("p", "gpu-0:8001")
        assert pair.handler.events[-1] == "refresh p gpu-0:8001"
        await pair.link.refresh("p", loaded="resnet")
        assert pair.handler.events[-1] == "refresh p  resnet"

    play(make, scene)


@BOTH
def test_a_load_returns_when_its_world_is_applied_and_tells_how_it_goes(make: Make) -> None:
    async def scene(pair: Pair) -> None:
        pair.publish(a_world(1))
        await eventually(lambda: pair.applied.worlds)
        told: list[str] = []
        assert await pair.link.load("p", "m", told.append) == Outcome("ready")
        assert pair.applied.generations[-1] == 101
        assert told == ["in a moment"]
        assert await pair.link.load("p", "n", told.append) == Outcome("failed", "told to", 2.0)
        assert pair.handler.events[1:] == ["load p m", "load p n"]

    play(make, scene)


def test_a_load_without_control_says_so() -> None:
    async def run() -> None:
        async with asyncio.timeout(10), over_a_socket() as pair:
            assert await pair.link.load("p", "m", print) == AWAY
            running = asyncio.get_running_loop().create_task(pair.link.run())
            pair.publish(a_world(1))
            await eventually(lambda: pair.applied.worlds)
            pair.handler.gate.clear()
            load = asyncio.get_running_loop().create_task(pair.link.load("p", "m", lambda progress: None))
            await eventually(lambda: "load p m" in pair.handler.events)
            running.cancel()
            assert await load == AWAY
            pair.handler.gate.set()
            await asyncio.wait([running])

    asyncio.run(run())


@BOTH
def test_a_refresh_that_takes_too_long_is_given_up(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "REFRESH_TIMEOUT", 0.1)

    async def scene(pair: Pair) -> None:
        pair.publish(a_world(1))
        await eventually(lambda: pair.applied.worlds)
        pair.handler.gate.clear()
        await pair.link.refresh("p")
        pair.handler.gate.set()

    play(make, scene)
    assert "pool p is not refreshed after 0.1 s" in caplog.messages


@BOTH
def test_reports_arrive(make: Make) -> None:
    async def scene(pair: Pair) -> None:
        pair.publish(a_world(1))
        await eventually(lambda: pair.applied.worlds)
        pair.link.send_report(REPORT)
        await eventually(lambda: pair.handler.reports == [REPORT])

    play(make, scene)


def test_comes_back_when_control_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIES_BEFORE_WARNING", 2)

    async def run() -> None:
        path = str(tmp_path / "s")
        handler, applied = Recorder(), Applied()
        client = LinkClient(path, 0, applied)
        running = asyncio.get_running_loop().create_task(client.run())
        await eventually(lambda: any(message.startswith("no control") for message in caplog.messages))
        client.send_report(REPORT)  # dropped: there is no control yet
        await client.refresh("early")
        for generation in (1, 2, 3):
            server = LinkServer(path, handler)
            await server.start()
            server.publish(a_world(generation))
            await eventually(lambda generation=generation: applied.generations[-1:] == [generation])
            await server.close()
        running.cancel()
        await asyncio.wait([running])
        assert handler.reports == []

    asyncio.run(run())
    assert "pool early is not refreshed: no control" in caplog.messages


def test_a_refresh_ends_when_control_does() -> None:
    async def run() -> None:
        async with asyncio.timeout(10), over_a_socket() as pair:
            running = asyncio.get_running_loop().create_task(pair.link.run())
            pair.publish(a_world(1))
            await eventually(lambda: pair.applied.worlds)
            pair.handler.gate.clear()
            refresh = asyncio.get_running_loop().create_task(pair.link.refresh("p"))
            await eventually(lambda: "refresh p" in pair.handler.events)
            running.cancel()
            begun = asyncio.get_running_loop().time()
            await refresh
            assert asyncio.get_running_loop().time() - begun < 1
            pair.handler.gate.set()
            await asyncio.wait([running])

    asyncio.run(run())


def test_reports_do_not_pile_up_when_control_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_BACKLOG", 10_000)
    big = Report(0, 1, True, {f"c{number}": {(): 1.0} for number in range(1000)}, {}, {})
    deaf: list[asyncio.StreamWriter] = []  # who never reads

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        deaf.append(writer)

    async def run() -> None:
        server = await asyncio.start_unix_server(accept, tmp_path / "s")
        client = LinkClient(str(tmp_path / "s"), 0, Applied())
        running = asyncio.get_running_loop().create_task(client.run())
        await eventually(lambda: deaf)
        for _ in range(1000):
            client.send_report(big)
        assert client._writer is not None
        assert client._writer.transport.get_write_buffer_size() < 10_000 + len(frame(big))
        transport = client._writer.transport
        running.cancel()
        await asyncio.wait([running])
        deaf[0].transport.abort()
        await eventually(lambda: transport.get_extra_info("socket").fileno() == -1)
        server.close()

    asyncio.run(run())


def test_a_body_too_long_is_not_read() -> None:
    async def run() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data((module.MESSAGE_LIMIT + 1).to_bytes(4, "big"))
        with pytest.raises(LinkError, match="at most 268435456"):
            await read_body(reader)

    asyncio.run(run())


def test_a_frame_is_a_length_and_a_body() -> None:
    async def run() -> None:
        reader = asyncio.StreamReader()
        bytes_ = frame(Hello(1, 2))
        assert int.from_bytes(bytes_[:4], "big") == len(bytes_) - 4
        reader.feed_data(bytes_[:-1])
        reader.feed_eof()
        with pytest.raises(EOFError):
            await read_body(reader)

    asyncio.run(run())
