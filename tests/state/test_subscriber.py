"""Subscriptions come back by themselves, also from a store that hangs, and cost nothing when nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest

from state import subscriber as module
from state.locate import reach
from state.settings import Settings
from state.subscriber import Subscriber
from tests.support.deadline import eventually
from tests.support.valkey import Valkey


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(partial(reach, settings))
    task = asyncio.get_running_loop().create_task(subscriber.run())
    try:
        yield subscriber
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def clients(valkey: Valkey) -> int:
    return valkey.ask("CLIENT", "LIST").count(b"name=penstock")


def test_no_connection_before_somebody_listens(valkey: Valkey) -> None:
    async def run() -> None:
        async with running(Settings(path=valkey.socket)) as subscriber:
            await asyncio.sleep(0.05)
            assert clients(valkey) == 0
            subscriber.on("news", lambda message: None)
            await eventually(lambda: clients(valkey) == 1)

    asyncio.run(run())


def test_each_channel_has_its_listeners(valkey: Valkey) -> None:
    async def run() -> None:
        async with running(Settings(path=valkey.socket)) as subscriber:
            one: list[bytes] = []
            two: list[bytes] = []
            other: list[bytes] = []
            subscriber.on("news", one.append)
            await eventually(lambda: one == [b""])
            off = subscriber.on("news", two.append)
            subscriber.on("other", other.append)
            await eventually(lambda: other == [b""] and two == [b""])
            valkey.ask("PUBLISH", "news", "x")
            await eventually(lambda: one[-1] == two[-1] == b"x")
            off()
            valkey.ask("PUBLISH", "news", "y")
            await eventually(lambda: one[-1] == b"y")
            assert two[-1] == b"x"
            assert other == [b""]

    asyncio.run(run())


def test_a_store_that_hangs_is_given_up(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING", 0.1)
    monkeypatch.setattr(module, "SILENCE", 0.5)

    async def run() -> None:
        async with running(Settings(path=valkey.socket, connect_timeout=0.3)) as subscriber:
            told: list[bytes] = []
            subscriber.on("news", told.append)
            await eventually(lambda: told == [b""])
            await asyncio.sleep(0.8)
            assert told == [b""]  # signs of life are enough
            valkey.pause()
            await eventually(lambda: subscriber._connection is None)
            valkey.resume()
            await eventually(lambda: told == [b"", b""])

    asyncio.run(run())
