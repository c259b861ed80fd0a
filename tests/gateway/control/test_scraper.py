"""One endpoint's page, read again and again, with a scripted client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic

import pytest

from config.schema import Metrics as Settings
from gateway.control import scraper as module
from gateway.control.metrics_page import Gpu, Key
from gateway.control.pace import Budget
from gateway.control.page_client import NoPage
from gateway.control.scraper import Scraper
from gateway.telemetry.metrics import Metrics
from tests.support.deadline import eventually
from tests.support.metrics_pages import GPU, page

A: Key = ("a", "1")
REFUSED = NoPage("unreachable", "refused")


class Script:
    """A client that answers with `answer`, when `gate` is open."""

    def __init__(self) -> None:
        self.answer: bytes | Exception = page({A: {}})
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = self.at_once = self.most_at_once = 0
        self.closed = False

    async def get(self, timeout: float) -> bytes:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.closed = True


class Bench:
    def __init__(self, interval: float = 0.02) -> None:
        self.script = Script()
        self.later = 0.0
        self.own: Mapping[Key, float] = {}
        self.taken: list[tuple[set[Key], bool]] = []
        self.owns: list[float] = []
        self.losses = 0
        self.metrics = Metrics()
        self.scraper = Scraper(
            "gpu-0:8001",
            Settings(interval=interval, timeout=1.0),
            self.script,
            lambda: self.own,
            self._taken,
            self._lost,
            self.metrics,
            asyncio.Semaphore(1),
            Budget(),
            lambda: monotonic() + self.later,
        )

    def _lost(self) -> None:
        self.losses += 1

    def _taken(self, touched: set[Key], now: float, other: bool) -> None:
        self.taken.append((touched, other))
        self.owns.append(self.scraper.load.total().own)

    def count(self, result: str) -> float:
        return self.metrics.counter("penstock_scrapes_total", (result,)).value


@pytest.fixture(autouse=True)
def _fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.control.pace.GRID", 0.001)
    monkeypatch.setattr(module, "GRID", 0.001)


def play(scene: Callable[[Bench], Awaitable[None]], interval: float = 0.02) -> Bench:
    async def run() -> Bench:
        bench = Bench(interval)
        running = asyncio.get_running_loop().create_task(bench.scraper.run())
        async with asyncio.timeout(10):
            await scene(bench)
        running.cancel()
        await asyncio.wait([running])
        return bench

    return asyncio.run(run())


def test_reads_at_the_interval_and_closes_at_the_end() -> None:
    async def scene(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await eventually(lambda: bench.script.asked >= 6)
        assert loop.time() - begun >= 0.08

    bench = play(scene)
    assert bench.taken[0] == ({A}, False)
    assert bench.count("ok") == len(bench.taken)
    assert bench.script.closed


def test_a_page_that_is_gone_is_told_once() -> None:
    async def scene(bench: Bench) -> None:
        bench.script.answer = REFUSED
        await eventually(lambda: bench.count("unreachable") >= 2)
        assert bench.losses == 0  # there was none yet
        bench.script.answer = page({A: {}})
        await eventually(lambda: bench.taken)
        bench.script.answer = REFUSED
        refused = bench.count("unreachable")
        await eventually(lambda: bench.count("unreachable") >= refused + 2)
        assert bench.losses == 1

    play(scene)


def test_a_slow_page_is_not_asked_for_twice_at_once() -> None:
    async def scene(bench: Bench) -> None:
        bench.script.gate.clear()
        await asyncio.sleep(0.1)
        bench.scraper.wake()
        await asyncio.sleep(0.02)
        assert bench.script.asked == 1

    assert play(scene).script.most_at_once == 1


def test_what_this_node_has_in_flight_is_not_taken_for_others() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.taken)
        bench.script.gate.clear()
        await eventually(lambda: bench.script.at_once)
        bench.script.answer = page({A: {"pending": 4}})
        bench.own = {A: 4}  # begun while the page was on its way
        bench.script.gate.set()
        await eventually(lambda: bench.scraper.load.models[A].load.pending == 4)
        bench.script.gate.clear()
        assert bench.scraper.load.models[A].load.foreign_requests == 0
        await eventually(lambda: bench.script.at_once)
        bench.own = {}  # ended while the page was on its way, which still shows them
        looks = len(bench.taken)
        bench.script.gate.set()
        await eventually(lambda: len(bench.taken) > looks)
        assert bench.owns[looks - 1 : looks + 1] == [4, 4]

    play(scene)


def test_other_models_on_the_page_are_told() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.taken)
        bench.script.answer = page({A: {}, ("b", "1"): {}})
        await eventually(lambda: any(other for _, other in bench.taken))
        bench.taken.clear()
        bench.script.answer = page({("b", "1"): {"success": 5}})
        await eventually(lambda: any(other for _, other in bench.taken))
        bench.taken.clear()
        bench.script.answer = page({("b", "1"): {"success": 7}})
        await eventually(lambda: len(bench.taken) > 3)
        assert not any(other for _, other in bench.taken)

    play(scene)


def test_failures_are_counted_and_told_once_and_so_is_the_return(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scene(bench: Bench) -> None:
        bench.script.answer = REFUSED
        await eventually(lambda: bench.count("unreachable") >= 4)
        assert not bench.scraper.healthy
        assert bench.scraper.failure == "refused"
        bench.script.answer = b"<html>"
        await eventually(lambda: bench.count("bad") >= 1)
        bench.script.answer = GPU
        await eventually(lambda: bench.count("ok") >= 1)
        assert bench.scraper.healthy
        assert [gpu.uuid for gpu in bench.scraper.gpus] == ["GPU-a", "GPU-b"]

    play(scene)
    told = [record.levelname for record in caplog.records if record.name == "gateway.control.scraper"]
    assert told == ["WARNING", "INFO"]


def test_a_page_that_stays_away_tells_nothing_after_a_while() -> None:
    async def scene(bench: Bench) -> None:
        bench.script.answer = page({A: {"success": 5}})
        await eventually(lambda: bench.scraper.load.models)
        bench.script.answer = REFUSED
        await eventually(lambda: bench.count("unreachable") >= 2)
        assert bench.scraper.load.models, "one failure is no news"
        bench.later = module.FORGOTTEN
        bench.taken.clear()
        await eventually(lambda: bench.taken)
        assert bench.taken == [({A}, False)]
        assert not bench.scraper.load.models
        bench.script.answer = page({A: {"success": 5}})
        bench.scraper.wake()
        await eventually(lambda: bench.scraper.load.models)

    play(scene)


def test_a_single_failure_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(bench: Bench) -> None:
        bench.script.answer = NoPage("slow", "slow")
        await eventually(lambda: bench.count("slow") == 1)
        bench.script.answer = page({})
        await eventually(lambda: bench.count("ok") >= 1)

    play(scene)
    assert caplog.records == []


def test_one_that_has_no_page_is_asked_again_at_once_when_woken() -> None:
    async def scene(bench: Bench) -> None:
        bench.script.answer = REFUSED
        await eventually(lambda: bench.script.asked >= 2)
        asked = bench.script.asked
        await asyncio.sleep(0.05)
        assert bench.script.asked <= asked + 1
        bench.scraper.wake()
        await asyncio.sleep(0.01)
        assert bench.script.asked > asked

    play(scene, interval=0.5)


def test_a_gpu_is_kept() -> None:
    async def scene(bench: Bench) -> None:
        bench.script.answer = GPU
        await eventually(lambda: bench.scraper.gpus)
        assert bench.scraper.gpus[1] == Gpu("GPU-b", 0.5)

    play(scene)
