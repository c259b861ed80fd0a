"""A model goes out of use when all workers know, and none has a request for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.control import withdrawal as module
from gateway.control.withdrawal import Generations, Withdrawals
from gateway.world import EndpointState, ModelVersion
from routing.load_board import LoadBoard
from tests.support.deadline import eventually

READY = {
    "m": {"1": ModelVersion("READY", slot=1), "2": ModelVersion("READY", slot=2)},
    "n": {"1": ModelVersion("READY")},
}


class Bench:
    """One endpoint with its row and those of its models, and one worker that takes worlds over when told."""

    def __init__(self) -> None:
        self.board = LoadBoard.create(None, 8, 1)
        self.worker = self.board.worker(0)
        self.generation = 0
        self.applied = 0
        self.follows = True
        self.generations = Generations(lambda generation: self.applied < generation)
        self.withdrawals = Withdrawals(self.board, self.publish, self.generations.reached)
        self.pools: dict[str, tuple[EndpointState, ...]] = {"p": (EndpointState("a:1", True, True, READY, slot=0),)}
        self.told = self.withdrawals.over(self.pools)

    def publish(self) -> int:
        self.generation += 1
        self.told = self.withdrawals.over(self.pools)
        if self.follows:
            self.apply()
        return self.generation

    def apply(self) -> None:
        self.applied = self.generation
        self.generations.changed()

    def states(self, model: str) -> list[str]:
        return [version.state for version in self.told["p"][0].models[model].values()]


def play(scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(10):
            await scene(Bench())

    asyncio.run(run())


def test_workers_are_told_and_requests_end_first() -> None:
    async def scene(bench: Bench) -> None:
        bench.follows = False
        bench.worker.add(2, 0.1)
        withdrawing = asyncio.ensure_future(bench.withdrawals.withdraw("a:1", "m"))
        await eventually(lambda: bench.generation)
        assert bench.states("m") == ["UNLOADING", "UNLOADING"]
        assert bench.states("n") == ["READY"]
        assert [version.slot for version in bench.told["p"][0].models["m"].values()] == [1, 2]
        bench.worker.remove(2, 0.1)
        await asyncio.sleep(0.03)
        assert not withdrawing.done()  # the worker may still choose it
        bench.worker.add(1, 0.1)
        bench.apply()
        await asyncio.sleep(0.03)
        assert not withdrawing.done()
        assert bench.withdrawals.in_flight("a:1", "m") == 1
        bench.worker.remove(1, 0.1)
        assert await withdrawing
        bench.withdrawals.restore("a:1", "m")
        assert bench.states("m") == ["READY", "READY"]

    play(scene)


def test_two_withdrawals_need_two_restores() -> None:
    async def scene(bench: Bench) -> None:
        assert await bench.withdrawals.withdraw("a:1", "m")
        assert await bench.withdrawals.withdraw("a:1", "m")
        bench.withdrawals.restore("a:1", "m")
        assert bench.states("m") == ["UNLOADING", "UNLOADING"]
        bench.withdrawals.restore("a:1", "m")
        assert bench.states("m") == ["READY", "READY"]
        generation = bench.generation
        bench.withdrawals.restore("a:1", "m")
        assert bench.generation == generation

    play(scene)


def test_a_request_that_lasts_or_a_worker_that_does_not_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "REACH_TIMEOUT", 0.05)

    async def scene(bench: Bench) -> None:
        bench.worker.add(1, 0.1)
        assert not await bench.withdrawals.withdraw("a:1", "m")
        bench.worker.remove(1, 0.1)
        bench.follows = False
        assert not await bench.withdrawals.withdraw("a:1", "m")

    play(scene)


def test_an_endpoint_is_left_when_its_last_request_ended() -> None:
    async def scene(bench: Bench) -> None:
        bench.worker.add(0, 0.1)
        bench.pools = {"p": ()}
        leaving = asyncio.ensure_future(bench.withdrawals.left("a:1"))
        await asyncio.sleep(0.03)
        assert not leaving.done()
        bench.worker.remove(0, 0.1)
        await leaving
        await bench.withdrawals.left("never:1")

    play(scene)


def test_the_work_that_waits_at_an_endpoint() -> None:
    async def scene(bench: Bench) -> None:
        bench.worker.add(0, 0.25)
        bench.board.publish(0, foreign=0.5)
        assert bench.withdrawals.wait("a:1") == 0.75
        assert bench.withdrawals.wait("b:1") == 0.0

    play(scene)
