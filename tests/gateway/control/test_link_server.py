"""Control's end of the link, against bytes."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.control import link_server as module
from gateway.control.link_server import LinkServer
from gateway.link import frame, read_body
from gateway.world import (
    Hello,
    KeySet,
    Load,
    Loaded,
    Loading,
    Outcome,
    Place,
    Places,
    Refresh,
    Refreshed,
    ToWorker,
    World,
)
from state.keys import KeyRecord
from tests.support.deadline import eventually
from tests.support.link_handler import Recorder, a_world

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Bench:
    """A server and connections to it."""

    def __init__(self, path: Path) -> None:
        self.handler = Recorder()
        self.path = str(path / "s")
        self.server = LinkServer(self.path, self.handler)
        self.handler.publish = self.server.publish
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, first: bytes | None = None) -> Connection:
        reader, writer = await asyncio.open_unix_connection(self.path)
        self.writers.append(writer)
        writer.write(frame(Hello(0, os.getpid())) if first is None else first)
        return reader, writer


async def receive(reader: asyncio.StreamReader) -> ToWorker:
    message: ToWorker = msgspec.msgpack.decode(await read_body(reader), type=ToWorker)
    return message


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Bench], Coroutine[Any, Any, None]]], Recorder]:
    def run(scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> Recorder:
        async def scene_within_time() -> Recorder:
            bench = Bench(tmp_path)
            await bench.server.start()
            async with asyncio.timeout(10):
                await scene(bench)
            for writer in bench.writers:
                writer.close()
            await bench.server.close()
            await asyncio.sleep(0.01)
            return bench.handler

        return asyncio.run(scene_within_time())

    return run


Play = Callable[[Callable[[Bench], Coroutine[Any, Any, None]]], Recorder]


def test_only_this_user_may_connect(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        assert stat.S_IMODE(os.stat(bench.path).st_mode) == 0o600

    play(scene)


def test_a_worker_that_comes_later_gets_the_world(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        bench.server.publish(a_world(1))
        bench.server.publish(a_world(2))
        reader, _ = await bench.connect()
        assert await receive(reader) == a_world(2)

    assert play(scene).events == ["hello 0", "gone 0"]


def test_the_world_comes_before_the_answer(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        reader, writer = await bench.connect()
        writer.write(frame(Refresh(7, "p")))
        assert await receive(reader) == a_world(101)
        assert await receive(reader) == Refreshed(7)

    play(scene)


def test_a_load_is_answered_whatever_happens(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        reader, writer = await bench.connect()
        bench.handler.gate.clear()
        writer.write(frame(Load(8, "p", "m")))
        assert await receive(reader) == Loading(8, "in a moment")
        bench.handler.gate.set()
        assert await receive(reader) == a_world(101)
        assert await receive(reader) == Loaded(8, Outcome("ready"))
        writer.write(frame(Load(9, "p", "bug")))
        assert await receive(reader) == Loading(9, "in a moment")
        assert await receive(reader) == Loaded(9, Outcome("failed", "internal error", 1.0))

    play(scene)


def test_the_newer_connection_of_a_worker_counts(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        first, _ = await bench.connect()
        await eventually(lambda: bench.handler.events == ["hello 0"])
        second, _ = await bench.connect()
        assert await first.read() == b""
        bench.server.publish(a_world(1))
        assert await receive(second) == a_world(1)
        assert bench.handler.events == ["hello 0", "hello 0"]  # it is not gone

    play(scene)


@pytest.mark.parametrize(
    "first",
    [
        frame(Refresh(1, "p")),
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x02\x93",
        b"",
    ],
    ids=["no hello", "too long", "no msgpack", "cut", "silent"],
)
def test_who_does_not_speak_the_protocol_is_closed(play: Play, first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELLO_TIMEOUT", 0.05)

    async def scene(bench: Bench) -> None:
        reader, _ = await bench.connect(first)
        assert await reader.read() == b""
        other, _ = await bench.connect()
        bench.server.publish(a_world(1))
        assert await receive(other) == a_world(1)

    assert play(scene).events == ["hello 0", "gone 0"]


def test_a_second_hello_ends_the_connection(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        reader, writer = await bench.connect()
        writer.write(frame(Hello(1, 2)))
        assert await reader.read() == b""

    assert play(scene).events == ["hello 0", "gone 0"]


def test_a_worker_that_does_not_read_holds_one_world(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        reader, _ = await bench.connect()
        await eventually(lambda: bench.handler.events)
        worlds = [a_world(generation) for generation in range(1, 20_000)]
        for world in worlds:
            bench.server.publish(world)
            if world.generation % 100 == 0:
                await asyncio.sleep(0)
        seen = 0
        while (message := await receive(reader)) != worlds[-1]:
            assert isinstance(message, World)
            seen += 1
        assert seen < 2_000

    play(scene)


def test_places_come_before_the_world_and_then_as_they_change(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        first, second = Places({"p": Place(1, (1.0, 2.0))}), Places({"p": Place(0, (2.0,))})
        bench.server.publish(a_world(1))
        bench.server.publish_places(first)
        reader, _ = await bench.connect()
        assert await receive(reader) == first
        assert isinstance(await receive(reader), World)
        bench.server.publish_places(second)
        assert await receive(reader) == second
        late, _ = await bench.connect(frame(Hello(1, os.getpid())))
        assert await receive(late) == second

    play(scene)


def test_keys_come_before_the_world_and_then_as_they_change(play: Play) -> None:
    async def scene(bench: Bench) -> None:
        first = KeySet(True, True, (KeyRecord("abcdefghijkl", bytes(32), "alice"),))
        change = KeySet(False, True, (), ("abcdefghijkl",))
        bench.server.publish(a_world(1))
        bench.server.publish_keys(first, lambda: first)
        reader, _ = await bench.connect()
        assert await receive(reader) == first
        assert isinstance(await receive(reader), World)
        bench.server.publish_keys(change, lambda: KeySet(True, True))
        assert await receive(reader) == change
        late, _ = await bench.connect(frame(Hello(1, os.getpid())))
        assert await receive(late) == KeySet(True, True)

    play(scene)
