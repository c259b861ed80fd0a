"""Gateways that share a pool know one another, in the same order, and forget who is gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from gateway.control import members as module
from gateway.control.members import (
    ALONE,
    AVERAGED,
    GATHERING,
    HELD,
    LIFE,
    Load,
    Members,
    members_of,
)
from gateway.world import Place, Places
from routing.aperture import relative
from state import Argument, Script, StateError
from state.client import Client
from state.cluster import ClusterClient
from tests.support.clock import Clock
from tests.support.deadline import eventually
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey

GROUPS = {"p": "p.0123"}


class ScriptedState:
    """A store that says what `answer` is told to, or is away."""

    up = True

    def __init__(self) -> None:
        self.unknown = 0
        self.answer: list[list[bytes]] | None = None
        self.asked: list[tuple[list[str], list[Argument]]] = []

    def key(self, *parts: str) -> str:
        return ":".join(parts)

    async def do(self, *command: Argument, timeout: float | None = None) -> Any:
        raise StateError("away", "down")

    def script(self, name: str, source: str) -> Script:
        async def run(keys: Any, args: Any = ()) -> Any:
            self.asked.append((keys, args))
            if self.answer is None:
                raise StateError("away", "down")
            return self.unknown, self.answer

        return run

    def on_message(self, channel: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        raise NotImplementedError(channel)


class Bench:
    """Members with a clock and a store by hand. `published` is what workers were told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.state = ScriptedState()
        self.offered = {"p": 0.0}
        self.published: list[Places] = []
        self.members = Members(self.state, "b", GROUPS, lambda: self.offered, self.published.append, self.clock)

    def says(self, **loads: float) -> None:
        words = [word for name, load in loads.items() for word in (name.encode(), str(load).encode())]
        self.state.answer = [words]

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            asyncio.run(self.members.look())
            self.clock.now += 1.0

    @property
    def place(self) -> Place:
        return self.members.place("p")


def test_the_order_is_by_name_and_so_the_same_everywhere() -> None:
    bench = Bench()
    bench.says(c=1.0, b=2.0, a=3.0)
    bench.look()
    assert bench.published == [Places({"p": Place(1, (3.0, 2.0, 1.0))})]
    assert bench.members.describe("p") == {
        "node": 1,
        "count": 3,
        "names": ["a", "b", "c"],
        "loads": [3.0, 2.0, 1.0],
    }
    assert bench.members.counts() == {("p",): 3.0}


def test_workers_are_told_only_what_moves_shares() -> None:
    bench = Bench()
    for load in (1.0, 1.01, 0.99, 1.02):
        bench.says(a=load, b=1.0)
        bench.look()
    assert len(bench.published) == 1
    bench.says(a=3.0, b=1.0)
    bench.look(3)
    assert len(bench.published) == 2
    assert bench.place.loads == (3.0, 1.0)


def test_a_load_is_work_in_a_second_and_changes_by_steps() -> None:
    load = Load()
    for second in range(60):
        load.see(2.0 * second, 1.0)
    assert load.told == pytest.approx(2.0, rel=0.2)
    told = {load.told}
    for second in range(60, 90):  # a report more, a report less
        load.see(2.0 * (second + second % 2), 1.0)
        told.add(load.told)
    assert len(told) <= 2
    for second in range(90, 90 + int(4 * AVERAGED)):
        load.see(178.0 + 8.0 * (second - 89), 1.0)
    assert load.told == pytest.approx(8.0, rel=0.2)


def test_a_load_ends() -> None:
    load = Load()
    load.see(0.0, 1.0)
    load.see(5.0, 1.0)
    for _ in range(100):
        load.see(5.0, 1.0)
    assert load.told == 0.0


def test_what_was_sent_before_control_was_there_is_no_load_and_counters_that_go_back_are_none() -> None:
    load = Load()
    load.see(1e6, 1.0)
    assert load.told == 0.0
    load.see(0.0, 1.0)
    assert load.told == 0.0


def test_the_load_of_each_pool_is_announced() -> None:
    bench = Bench()
    bench.says(b=0.0)
    for _ in range(60):
        bench.look()
        bench.offered["p"] += 0.5
    keys, args = bench.state.asked[-1]
    assert keys == ["{members}:p.0123"]
    assert args[:2] == ["b", 5000]
    assert float(args[2]) == pytest.approx(0.5, rel=0.2)


def test_while_the_store_is_away_places_hold_and_then_one_is_alone(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.says(a=1.0, b=1.0)
    bench.look()
    bench.state.answer = None
    caplog.set_level(logging.INFO)
    bench.look(int(HELD) - 1)
    assert bench.place == Place(1, (1.0, 1.0))
    assert caplog.records == []
    bench.look(60)
    assert bench.place is ALONE
    assert [places.pools["p"] for places in bench.published] == [Place(1, (1.0, 1.0)), ALONE]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert bench.members.counts() == {("p",): 1.0}
    assert bench.members.describe("p") == {"node": 0, "count": 1, "names": ["b"], "loads": [1.0]}


def test_after_an_outage_nobody_is_gone_who_had_no_time_to_come_back() -> None:
    bench = Bench()
    bench.says(a=1.0, b=1.0)
    bench.look()
    bench.state.answer = None
    bench.look(4)
    bench.says(b=1.0)  # the first one back
    bench.look(2)
    assert bench.place.loads == (1.0, 1.0)
    bench.says(a=1.0, b=1.0)
    bench.look(5)
    assert len(bench.published) == 1
    bench.says(b=1.0)
    bench.look()
    assert bench.place == Place(0, (1.0,))


def test_a_store_that_forgot_all_is_not_believed_at_once() -> None:
    bench = Bench()
    bench.state.unknown = 1
    bench.says(a=1.0, b=1.0)
    bench.look()
    bench.says(b=1.0)
    bench.look()
    bench.state.unknown = 0
    bench.look(2)
    assert bench.place.loads == (1.0, 1.0)
    bench.look()
    assert bench.place.loads == (1.0,)


def test_a_control_that_finds_no_store_tells_workers_that_outlived_another_that_they_are_alone() -> None:
    bench = Bench()
    bench.look(int(HELD))
    assert bench.published == []
    bench.look(20)
    assert bench.published == [Places({"p": ALONE})]


def test_a_gateway_that_the_store_lost_is_alone_until_it_is_there_again() -> None:
    bench = Bench()
    bench.says(a=1.0, c=1.0)
    bench.look()
    assert bench.place is ALONE


def test_what_no_gateway_wrote_is_left_out() -> None:
    answer = [b"a", b"1.5", b"b", b"much", b"c", b"-1", b"d", b"inf", b"e", b"nan", b"\xff", b"2"]
    assert members_of(answer) == {"a": 1.5, "\ufffd": 2.0}


def test_without_pools_that_are_shared_nothing_is_asked() -> None:
    bench = Bench()
    alone = Members(bench.state, "", {}, dict, bench.published.append)
    asyncio.run(alone.run())
    asyncio.run(alone.leave())
    assert (bench.state.asked, bench.published, alone.counts()) == ([], [], {})
    assert alone.describe("p")["count"] == 1


def test_leaving_without_a_store_is_no_error() -> None:
    asyncio.run(Bench().members.leave())


# with a real store ----------------------------------------------------------------------------------------------------


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
