"""Members at a real store: who comes, goes and dies, and a store that does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from gateway.control import members as module
from gateway.control.members import (
    GATHERING,
    HELD,
    LIFE,
    Members,
)
from gateway.world import Place, Places
from routing.aperture import relative
from state.client import Client
from state.cluster import ClusterClient
from tests.support.deadline import eventually
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey

GROUPS = {"p": "p.0123"}


class Gateway:
    """Control-like: a client of the store, members that run, and the last place that was told."""

    def __init__(self, client: Client | ClusterClient, name: str, groups: dict[str, str]) -> None:
        self.offered = {"p": 0.0}
        self.told: dict[str, Place] = {}
        self.changes = 0
        self.members = Members(client, name, groups, lambda: self.offered, self._told)
        self._running: asyncio.Task[None] | None = None

    def _told(self, places: Places) -> None:
        self.told = places.pools
        self.changes += 1

    def start(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self.members.run())

    async def kill(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def sees(self, node: int, count: int) -> bool:
        place = self.told.get("p")
        return place is not None and (place.node, len(place.loads)) == (node, count)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """A fifth of all times; how long a gateway lives."""
    monkeypatch.setattr(module, "INTERVAL", 0.2)
    monkeypatch.setattr(module, "LIFE", LIFE / 5)
    monkeypatch.setattr(module, "HELD", HELD / 5)
    monkeypatch.setattr(module, "GATHERING", GATHERING / 5)
    return LIFE / 5


@asynccontextmanager
async def gateways(valkey: Valkey, *names: str, groups: dict[str, str] | None = None) -> AsyncIterator[list[Gateway]]:
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            client = await stack.enter_async_context(a_client(at(valkey)))
            found.append(Gateway(client, name, groups or GROUPS))
            stack.push_async_callback(found[-1].kill)
        yield found


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30):
            await scene()

    asyncio.run(run())


def test_three_know_one_another_and_a_dead_one_is_forgotten(valkey: Valkey, quick: float) -> None:
    async def scene() -> None:
        async with gateways(valkey, "a", "b", "c") as (a, b, c):
            a.start()
            await eventually(lambda: a.sees(0, 1))
            b.start()
            c.start()
            await eventually(lambda: a.sees(0, 3) and b.sees(1, 3) and c.sees(2, 3))
            await b.kill()
            killed = time.monotonic()
            await eventually(lambda: a.sees(0, 2) and c.sees(1, 2))
            assert quick - 0.3 < time.monotonic() - killed < quick + 0.6
            await c.kill()
            await c.members.leave()
            left = time.monotonic()
            await eventually(lambda: a.sees(0, 1))
            assert time.monotonic() - left < quick - 0.3
            assert valkey.ask("KEYS", "*").count(b"members") == 1
            await a.kill()
            await eventually(lambda: b"members" not in valkey.ask("KEYS", "*"), 5)

    play(scene)


def test_loads_are_the_same_everywhere(valkey: Valkey, quick: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AVERAGED", 0.5)

    async def scene() -> None:
        async with gateways(valkey, "a", "b") as (a, b):
            a.start()
            b.start()
            for _ in range(150):
                a.offered["p"] += 0.06
                b.offered["p"] += 0.02
                await asyncio.sleep(0.02)
            assert relative(a.members.place("p").loads)[0] > 1.2
            await eventually(lambda: a.members.place("p").loads == b.members.place("p").loads)

    play(scene)


def test_those_with_other_pools_and_other_prefixes_do_not_count(valkey: Valkey, quick: float) -> None:
    async def scene() -> None:
        async with (
            gateways(valkey, "a", "b") as (a, b),
            gateways(valkey, "c", groups={"q": "q.1", "p": "p.4567"}) as (c,),
            a_client(at(valkey, prefix="other")) as client,
        ):
            d = Gateway(client, "d", GROUPS)
            for each in (a, b, c, d):
                each.start()
            await eventually(lambda: a.sees(0, 2) and b.sees(1, 2) and c.sees(0, 1) and d.sees(0, 1))
            await asyncio.sleep(0.5)
            assert (a.sees(0, 2), c.sees(0, 1), d.sees(0, 1)) == (True, True, True)
            assert c.members.counts() == {("p",): 1.0, ("q",): 1.0}
            await d.kill()

    play(scene)


@pytest.mark.parametrize("how", ["pause", "restart"])
def test_a_short_outage_changes_nothing(
    valkey: Valkey, quick: float, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHERING", GATHERING)  # clients wait as long as ever before they connect again
    monkeypatch.setattr(module, "HELD", HELD)

    async def scene() -> None:
        async with gateways(valkey, "a", "b", "c") as found:
            a, b, c = found
            for each in found:
                each.start()
            await eventually(lambda: a.sees(0, 3) and b.sees(1, 3) and c.sees(2, 3))
            changes = [each.changes for each in found]
            if how == "pause":
                valkey.pause()
                await asyncio.sleep(quick + 0.2)  # when it goes on, all lives are over
                valkey.resume()
            else:
                await asyncio.to_thread(valkey.restart)  # and nothing is left
            await asyncio.sleep(GATHERING + 1.5)
            assert [each.changes for each in found] == changes

    play(scene)


def test_a_long_outage_makes_each_alone_and_then_they_find_one_another(valkey: Valkey, quick: float) -> None:
    async def scene() -> None:
        async with gateways(valkey, "a", "b") as (a, b):
            a.start()
            b.start()
            await eventually(lambda: a.sees(0, 2) and b.sees(1, 2))
            valkey.kill()
            await eventually(lambda: a.sees(0, 1) and b.sees(0, 1), 5)
            await asyncio.to_thread(valkey.start)
            await eventually(lambda: a.sees(0, 2) and b.sees(1, 2), 5)

    play(scene)


def test_a_clock_of_the_store_that_was_ahead_keeps_nobody_for_ever(valkey: Valkey, quick: float) -> None:
    async def scene() -> None:
        async with gateways(valkey, "a", "b") as (a, _):
            ahead = int((time.time() + 3600) * 1000)
            valkey.ask("HSET", "penstock:{members}:p.0123", "b", f"{ahead} 1", "c", "nonsense", "d", "")
            a.start()
            await eventually(lambda: a.sees(0, 1))
            assert b"nonsense" not in valkey.ask("HGETALL", "penstock:{members}:p.0123")

    play(scene)
