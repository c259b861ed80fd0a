"""Eight processes against one limit: exactly, and in batches within the stated error; and what a store that goes away
does to it."""

from __future__ import annotations

import asyncio
import multiprocessing
import time

import pytest

from routing.tasks import spawn
from state import StateError
from state.gcra import Taken, Window
from state.limit_table import LimitTable
from state.limiters import HOLD, LEASE_SHARE, TRUST, Exact, Leased, Limiter, Local, Recent
from tests.support.clock import Clock
from tests.support.plain_state import PlainState
from tests.support.valkey import Valkey

WINDOWS = (Window(1 / 400, 100), Window(1 / 200, 500))
WORKERS = 8


def limiter(mode: str, state: PlainState) -> Limiter:
    return Exact(state) if mode == "exact" else Leased(state, spawn)


def worker(mode: str, socket: str, seconds: float, number: int) -> list[tuple[float, float]]:
    """When one worker asked, and when it had a unit: several callers at once, without rest."""

    async def run() -> list[tuple[float, float]]:
        had: list[tuple[float, float]] = []
        until = time.monotonic() + seconds

        async def caller() -> None:
            while time.monotonic() < until:
                asked = time.monotonic()
                taken = mine.at_once("k", WINDOWS, 1) or await mine.ask("k", WINDOWS, 1)
                if taken.granted:
                    had.append((asked, time.monotonic()))
                await asyncio.sleep(0.0005 * (1 + number % 3))

        async with PlainState(socket) as state:
            mine = limiter(mode, state)
            await asyncio.gather(*(caller() for _ in range(4)))
        return had

    return asyncio.run(run())


def excess(moments: list[float], rate: float, burst: float) -> float:
    """The most units that any span has beyond rate x its length + burst."""
    level, before, worst = 0.0, moments[0], 0.0
    for moment in sorted(moments):
        level = max(0.0, level - (moment - before) * rate) + 1
        worst, before = max(worst, level - burst), moment
    return worst


def storm(mode: str, socket: str, seconds: float = 1.5) -> list[tuple[float, float]]:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        found = pool.starmap(worker, [(mode, socket, seconds, number) for number in range(WORKERS)])
    return sorted(moment for each in found for moment in each)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_eight_workers_have_one_limit(mode: str, valkey: Valkey) -> None:
    had = storm(mode, valkey.socket)
    slack = max(got - asked for asked, got in had)  # what a process did not see at once counts where it asked, too
    for interval, burst in WINDOWS:
        rate = 1 / interval
        lease = max(1, int(LEASE_SHARE * min(burst for _, burst in WINDOWS)))
        error = min(rate * HOLD, WORKERS * lease) if mode == "leased" else 0.0
        assert excess([got for _, got in had], rate, burst) <= error + rate * slack + 1e-6
    span = had[-1][1] - had[0][0]
    assert len(had) >= 0.8 * min(100 + 400 * span, 500 + 200 * span)


def spend(mode: str, socket: str, windows: tuple[Window, ...]) -> int:
    """What a worker that has just started is granted, of one unit."""

    async def run() -> Taken:
        async with PlainState(socket) as state:
            return await limiter(mode, state).ask("k", windows, 1)

    return asyncio.run(run()).granted


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_a_worker_that_starts_again_finds_what_was_used(mode: str, valkey: Valkey) -> None:
    windows = (Window(3600.0, 7),)
    granted = [spend(mode, valkey.socket, windows) for _ in range(10)]
    assert granted == [1] * 7 + [0] * 3


def test_a_store_that_starts_again_finds_it_too() -> None:
    with Valkey(persistent=True, appendfsync="always") as valkey:
        windows = (Window(3600.0, 3),)
        assert [spend("exact", valkey.socket, windows) for _ in range(2)] == [1, 1]
        valkey.restart()
        assert [spend("exact", valkey.socket, windows) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_who_is_refused_does_not_bother_the_store(mode: str, valkey: Valkey) -> None:
    async def run() -> None:
        clock = Clock()
        async with PlainState(valkey.socket) as state:
            mine = Exact(state, clock) if mode == "exact" else Leased(state, spawn, clock=clock)
            windows = (Window(3600.0, 1),)
            assert (await mine.ask("k", windows, 1)).granted == 1
            refused = mine.at_once("k", windows, 1) or await mine.ask("k", windows, 1)
            asked = state.asked
            for _ in range(100):
                taken = mine.at_once("k", windows, 1)
                assert taken is not None
                assert taken.granted == 0
                assert taken.wait == pytest.approx(refused.wait, rel=0.01)
            assert state.asked == asked
            clock.now += TRUST
            assert mine.at_once("k", windows, 1) is None

    asyncio.run(run())


def test_batches_grow_with_what_is_asked_and_shrink_again(valkey: Valkey) -> None:
    async def run() -> None:
        clock = Clock()
        async with PlainState(valkey.socket) as state:
            mine = Leased(state, spawn, 16, clock)
            windows = (Window(0.0001, 10_000),)
            sizes, before = [], 0
            for _ in range(100):
                clock.now += 0.001
                if mine.at_once("k", windows, 1) is None:
                    await mine.ask("k", windows, 1)
                if state.asked > before:
                    before = state.asked
                    lease = mine._leases.get("k")
                    assert lease is not None
                    sizes.append(lease.held + 1)
            assert sizes[:5] == [1, 2, 4, 8, 16]
            assert set(sizes[5:]) == {16}
            clock.now += HOLD
            assert mine.at_once("k", windows, 1) is None  # what was held is over
            await mine.ask("k", windows, 1)
            clock.now += 10 * HOLD
            await mine.ask("k", windows, 1)
            lease = mine._leases.get("k")
            assert lease is not None
            assert lease.held == 0

    asyncio.run(run())


def test_many_at_once_are_one_question(valkey: Valkey) -> None:
    async def run() -> None:
        async with PlainState(valkey.socket) as state:
            mine = Leased(state, spawn)
            windows = (Window(3600.0, 60),)
            taken = await asyncio.gather(*(mine.ask("k", windows, 1) for _ in range(100)))
            assert sum(each.granted for each in taken) == 60
            assert state.asked <= 4

    asyncio.run(run())


def test_who_leaves_takes_nothing_from_who_waits(valkey: Valkey) -> None:
    async def run() -> None:
        async with PlainState(valkey.socket) as state:
            mine = Leased(state, spawn)
            windows = (Window(3600.0, 10),)
            tasks = [asyncio.ensure_future(mine.ask("k", windows, 1)) for _ in range(10)]
            await asyncio.sleep(0)
            for task in tasks[:5]:
                task.cancel()
            await asyncio.wait(tasks)
            assert [task.result().granted for task in tasks[5:]] == [1] * 5
            lease = mine._leases.get("k")
            assert lease is not None
            assert lease.wanted == 0

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_a_store_that_is_away_is_an_error_and_not_a_limit(mode: str, valkey: Valkey) -> None:
    async def run() -> None:
        async with PlainState(valkey.socket) as state:
            mine = limiter(mode, state)
            valkey.kill()
            for _ in range(2):
                with pytest.raises(StateError):
                    await mine.ask("k", WINDOWS, 1)
            valkey.start()
            assert (await mine.ask("k", WINDOWS, 1)).granted == 1

    asyncio.run(run())


@pytest.mark.parametrize("answer", [b"OK", 5, [], [1, 0], [b"x"] * 4, None])
def test_nonsense_of_the_store_is_an_error(answer: object) -> None:
    class Mad(PlainState):
        async def do(self, *command: object, timeout: float | None = None) -> object:
            return answer

    with pytest.raises(StateError, match=r"expected .*number"):
        asyncio.run(Exact(Mad("/nowhere")).ask("k", WINDOWS, 1))


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_what_was_not_used_comes_back(mode: str, valkey: Valkey) -> None:
    async def run() -> None:
        async with PlainState(valkey.socket) as state:
            mine = limiter(mode, state)
            windows = (Window(3600.0, 10),)
            taken = await mine.ask("k", windows, 8)
            await mine.settle("k", windows, -5, taken.idles)
            assert (await limiter(mode, state).ask("k", windows, 7)).granted == 7
            assert (await limiter(mode, state).ask("k", windows, 1)).granted == 0

    asyncio.run(run())


def test_locally_it_is_known_at_once() -> None:
    mine = Local(LimitTable.open(None, clock=Clock()))
    windows = (Window(1.0, 3),)
    taken = mine.at_once("k", windows, 3)
    assert taken.granted == 3
    assert asyncio.run(mine.ask("k", windows, 1)).granted == 0
    asyncio.run(mine.settle("k", windows, -1, taken.idles))
    assert mine.at_once("k", windows, 1).granted == 1


def test_what_is_remembered_is_bounded() -> None:
    recent: Recent[int] = Recent(100)
    for number in range(1000):
        recent.put(str(number), number)
        assert recent.get("0") == 0  # in use, so it stays
    assert len(recent) <= 100
    assert recent.get("999") == 999
    assert recent.get("500") is None
