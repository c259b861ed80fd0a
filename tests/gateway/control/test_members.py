"""Gateways that share a pool know one another, in the same order, and forget who is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway.control.members import (
    ALONE,
    AVERAGED,
    HELD,
    Load,
    Members,
    members_of,
)
from gateway.world import Place, Places
from state import Argument, Script, StateError
from tests.support.clock import Clock

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
