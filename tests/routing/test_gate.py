"""Permits go where the most urgent call waits, in this worker or another one, and nothing is left behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from routing.bell import Bell
from routing.gate import Gate
from routing.permits import NOTHING, PermitTable
from routing.queueing import End, FairQueue, Waiting
from tests.support.clock import Clock


def a_gate(limit: int = 1, clock: Callable[[], float] | None = None) -> Gate:
    table = PermitTable.open(None, capacity=16)
    return Gate(table.hold("k"), FairQueue(3, 100, 1000), limit, None, Bell(None, 0), clock or Clock())


def a_call(ends: list[End], rank: int = 0, until: float = math.inf, there: bool = True) -> Waiting:
    def tell(end: End) -> bool:
        ends.append(end)
        return there

    return Waiting("t", rank, 1, until, tell)


def test_whoever_waits_has_the_permit_that_is_given_back() -> None:
    gate, ends = a_gate(), list[End]()
    assert gate.enter()
    assert not gate.enter()
    assert gate.wait(a_call(ends)) == []
    assert not ends
    gate.leave(0.1)
    assert ends == ["run"]
    assert not gate.enter()
    gate.leave(0.1)
    assert gate.idle
    assert gate.enter()


def test_nobody_overtakes_those_who_wait() -> None:
    gate, ends = a_gate(2), list[End]()
    assert gate.enter()
    assert gate.enter()
    gate.wait(a_call(ends))
    gate.wait(a_call(ends))
    gate.leave(0.1)
    assert not gate.enter()
    assert ends == ["run"]


def test_a_permit_goes_on_to_the_next_if_one_is_late_or_gone() -> None:
    clock, ends = Clock(), list[End]()
    gate = a_gate(clock=clock)
    gate.enter()
    gate.wait(a_call(ends, until=clock.now + 1))
    gate.wait(a_call(ends, there=False))
    gate.wait(a_call(ends))
    clock.now += 2
    gate.leave(0.1)
    assert ends == ["late", "run", "run"]
    assert gate.permits.in_flight == 1
    assert gate.queue.count == 0


def test_what_is_forgotten_never_runs() -> None:
    gate, ends = a_gate(), list[End]()
    gate.enter()
    call = a_call(ends)
    gate.wait(call)
    gate.forget(call)
    gate.leave(0.1)
    assert not ends
    assert gate.idle


def test_it_learns_how_long_calls_take_and_doubts_it() -> None:
    clock = Clock()
    gate = a_gate(clock=clock)
    assert gate.is_worth_it(clock.now + 1e-9)  # nothing is known yet
    for _ in range(50):
        gate.enter()
        gate.leave(0.1)
    assert gate.quickest == pytest.approx(0.1, rel=0.01)
    assert gate.likely == pytest.approx(0.1, rel=0.01)
    assert gate.is_worth_it(None)
    assert gate.is_worth_it(clock.now + 0.2)
    assert not gate.is_worth_it(clock.now + 0.05)
    while not gate.is_worth_it(clock.now + 0.05):  # a wrong estimate corrects itself
        pass
    assert gate.quickest <= 0.05


def test_what_varies_is_judged_more_generously_without_a_queue_than_in_one() -> None:
    gate = a_gate()
    for number in range(400):
        gate.enter()
        gate.leave(0.05 + 0.1 * (number * 7 % 11) / 10)
    assert gate.quickest < 0.07
    assert gate.likely > 0.13


def test_retry_after_follows_the_pace_at_which_calls_end() -> None:
    clock, ends = Clock(), list[End]()
    gate = a_gate(clock=clock)
    gate.enter()
    for rank in (0, 0, 1, 1, *[2] * 50):
        gate.wait(a_call(ends, rank))
    for _ in range(40):
        clock.now += 0.5
        gate.leave(0.5)
    assert gate.retry_after(2) == pytest.approx(0.5 * 15, rel=0.05)
    assert gate.retry_after(0) == pytest.approx(0.5, rel=0.05)


class Node:
    """Two workers of one node, in one event loop."""

    def __init__(self, directory: Path, limit: int) -> None:
        loop = asyncio.get_running_loop()
        self.bells = [Bell(str(directory), index) for index in range(2)]
        self.gates = [
            Gate(
                PermitTable.open(str(directory / "p"), index, 2).hold("k"),
                FairQueue(3, 100, 1000), limit, None, self.bells[index], loop.time,
            )
            for index in range(2)
        ]  # fmt: skip

    def close(self) -> None:
        for bell in self.bells:
            bell.close()


def test_two_workers_share_a_limit_and_the_more_urgent_call_is_first(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path, 2)
        one, two = node.gates
        low, high = list[End](), list[End]()
        try:
            assert one.enter()
            assert one.enter()
            assert not two.enter()
            for _ in range(3):
                one.wait(a_call(low, 2))
            two.wait(a_call(high, 0))
            one.leave(0.1)
            assert low == []
            await asyncio.sleep(0.002)  # sooner than it would look by itself
            assert high == ["run"]
            one.leave(0.1)
            assert low == ["run"]
            two.leave(0.1)
            await asyncio.sleep(0.02)
            assert low == ["run"] * 2
            assert one.permits.in_flight == 2
            one.leave(0.1)
            one.leave(0.1)
            one.leave(0.1)
            assert one.idle
            assert one.permits.rival(NOTHING, 0.0) is None
        finally:
            node.close()

    asyncio.run(run())


def test_workers_with_equal_claims_have_equal_parts(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path, 4)
        one, two = node.gates
        mine, theirs = list[End](), list[End]()
        try:
            for _ in range(4):
                assert one.enter()
            for _ in range(20):
                one.wait(a_call(mine))
                two.wait(a_call(theirs))
            for _ in range(10):
                (one if one.permits.mine else two).leave(0.1)
                await asyncio.sleep(0.005)
            assert (one.permits.mine, two.permits.mine) == (2, 2)
            assert len(mine) + len(theirs) == 10
        finally:
            node.close()

    asyncio.run(run())


def test_what_a_worker_no_longer_says_is_not_believed(tmp_path: Path) -> None:
    async def run() -> None:
        node = Node(tmp_path, 1)
        one, two = node.gates
        ends = list[End]()
        try:
            two.permits.say(0, asyncio.get_running_loop().time() + 0.05)  # and then it died
            assert not one.enter()
            one.wait(a_call(ends, 1))
            await asyncio.sleep(0.15)
            assert ends == ["run"]
        finally:
            node.close()

    asyncio.run(run())
