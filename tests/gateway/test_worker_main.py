"""The worker around a recorded data plane."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from gateway import worker_main as module
from gateway.lifeline import Exit
from gateway.link import DirectLink
from gateway.telemetry.metrics import Metrics
from gateway.worker_main import Refresh, Worker
from gateway.world import KeySet, Places
from routing.load_board import LoadBoard
from tests.support.deadline import eventually
from tests.support.link_handler import Recorder, a_world


@pytest.fixture(autouse=True)
def _gc_as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture(autouse=True)
def _quick_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_INTERVAL", 0.05)


class Plane:
    """Implements `gateway.worker_main.DataPlane`, recording what is asked of it."""

    def __init__(self, worker: int, metrics: Metrics, refresh: Refresh, board: LoadBoard) -> None:
        self.ready = False
        self.board = board
        self.events: list[str] = []
        self.refresh = refresh
        self.error: Exception | None = None
        self._inflight = metrics.gauge("penstock_inflight", ("r",))

    async def apply(self, world: Any) -> None:
        self.events.append(f"apply {world.generation}")
        if self.error is not None:
            raise self.error
        self.ready = True

    def take_keys(self, keys: KeySet) -> None:
        self.events.append(f"keys {len(keys.records)}")

    def take_places(self, places: Places) -> None:
        self.events.append(f"places {places.pools}")

    def report(self) -> None:
        self._inflight.value = 4

    async def drain(self, delay: float, timeout: float) -> None:
        self.ready = False
        self.events.append(f"drain {delay:g} {timeout:g}")

    async def close(self) -> None:
        self.events.append("close")


class Bench:
    def __init__(self, error: Exception | None = None) -> None:
        self.handler = Recorder()
        self.links: list[DirectLink] = []
        self.planes: list[Plane] = []
        self.board = LoadBoard.create(None, 4, 4)
        self.board.worker(3).add(1, 0.5)
        self.worker = Worker(3, self._make, self._connect, self.board)
        self.plane.error = error

    def _make(self, worker: int, metrics: Metrics, refresh: Refresh, board: LoadBoard) -> Plane:
        self.planes.append(Plane(worker, metrics, refresh, board))
        return self.plane

    def _connect(self, on_world: Any) -> DirectLink:
        self.links.append(DirectLink(self.handler, on_world))
        self.handler.publish = self.link.publish
        return self.link

    @property
    def plane(self) -> Plane:
        return self.planes[0]

    @property
    def link(self) -> DirectLink:
        return self.links[0]


def play(
    scene: Callable[[Bench], Coroutine[Any, Any, None]], error: Exception | None = None, delay: float = 0.0
) -> tuple[int, Bench]:
    """Run the worker through `scene` and then stop it; returns its exit code."""

    async def run() -> tuple[int, Bench]:
        bench = Bench(error)
        async with asyncio.timeout(10):
            running = asyncio.get_running_loop().create_task(bench.worker.run(delay))
            await scene(bench)
            bench.worker.stop()
            return await running, bench

    return asyncio.run(run())


def test_it_begins_with_nothing_in_flight() -> None:
    async def run() -> None:
        bench = Bench()
        assert bench.plane.board is bench.board
        assert (bench.board.in_flight(1), bench.board.seconds(1)) == (0, 0.0)

    asyncio.run(run())


def test_reports_from_the_first_world_on_and_drains_at_the_end() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.handler.reports)
        assert not bench.handler.reports[0].ready
        bench.link.publish(a_world(7))
        await eventually(lambda: len(bench.handler.reports) > 3)

    code, bench = play(scene)
    assert code == Exit.OK
    assert bench.plane.events == ["apply 7", "drain 0 5", "close"]
    report = bench.handler.reports[-2]
    assert (report.worker, report.generation, report.ready) == (3, 7, True)
    assert report.gauges["penstock_inflight"]["r",] == 4
    assert 0 <= report.gauges["penstock_loop_lag_seconds"]["3",] < 1
    assert report.counters["penstock_process_cpu_seconds_total"]["worker 3",] > 0
    assert not bench.handler.reports[-1].ready  # the last one, after the drain, has the final counts


def test_keys_reach_the_data_plane() -> None:
    async def scene(bench: Bench) -> None:
        keys = KeySet(True, True)
        bench.link.publish_keys(keys, lambda: keys)
        assert bench.plane.events == ["keys 0"]

    play(scene)


def test_places_reach_the_data_plane() -> None:
    async def scene(bench: Bench) -> None:
        bench.link.publish_places(Places({}))
        assert bench.plane.events == ["places {}"]

    play(scene)


def test_ready_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_INTERVAL", 60.0)

    async def scene(bench: Bench) -> None:
        bench.link.publish(a_world(1))
        await eventually(lambda: any(report.ready for report in bench.handler.reports))

    play(scene)


def test_a_delay_comes_before_the_drain() -> None:
    async def run() -> float:
        bench = Bench()
        loop = asyncio.get_running_loop()
        running = loop.create_task(bench.worker.run(0.2))
        bench.link.publish(a_world(1))
        await eventually(lambda: bench.plane.ready)
        begun = loop.time()
        bench.worker.stop()
        await eventually(lambda: "drain 0 5" in bench.plane.events)
        drained = loop.time() - begun
        await running
        return drained

    assert 0.2 <= asyncio.run(run()) < 2


def test_stopped_before_the_first_world_it_just_ends() -> None:
    async def scene(bench: Bench) -> None:
        pass

    code, bench = play(scene)
    assert (code, bench.plane.events) == (Exit.OK, ["close"])


def test_a_port_that_is_taken_ends_it() -> None:
    async def scene(bench: Bench) -> None:
        bench.link.publish(a_world(1))
        await eventually(lambda: "close" in bench.plane.events)

    code, bench = play(scene, OSError(98, "Address already in use"))
    assert (code, bench.plane.events) == (Exit.CANNOT_LISTEN, ["apply 1", "close"])


def test_a_first_world_that_makes_it_fail_ends_it() -> None:
    async def scene(bench: Bench) -> None:
        bench.link.publish(a_world(1))
        await eventually(lambda: "close" in bench.plane.events)

    with pytest.raises(ExceptionGroup) as caught:
        play(scene, ZeroDivisionError())
    assert caught.value.subgroup(ZeroDivisionError) is not None


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), OSError("no such certificate")])
def test_a_later_world_that_cannot_be_applied_leaves_the_last(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(bench: Bench) -> None:
        bench.link.publish(a_world(1))
        await eventually(lambda: bench.plane.ready)
        bench.plane.error = error
        bench.link.publish(a_world(2))
        await eventually(lambda: "apply 2" in bench.plane.events)
        bench.plane.error = None
        bench.link.publish(a_world(3))
        await eventually(lambda: "apply 3" in bench.plane.events)
        await eventually(lambda: bench.handler.reports[-1].generation == 3)

    code, bench = play(scene)
    assert code == Exit.OK
    assert 2 not in {report.generation for report in bench.handler.reports}
    assert any("cannot apply generation 2" in message for message in caplog.messages)


def test_the_data_plane_can_have_a_pool_refreshed() -> None:
    async def scene(bench: Bench) -> None:
        bench.link.publish(a_world(1))
        await eventually(lambda: bench.plane.ready)
        await bench.plane.refresh("p")
        assert bench.plane.events == ["apply 1", "apply 101"]

    play(scene)


def test_a_blocked_loop_shows_as_lag() -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, time.sleep, 0.2)
        return await module._worst_lag(0.01, 5)

    assert 0.1 < asyncio.run(run()) < 2


def test_what_is_alive_after_the_start_is_not_collected() -> None:
    gc.unfreeze()
    module.tune_gc()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold() == module.GC_THRESHOLDS


def test_logs_where_it_serves(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scene(bench: Bench) -> None:
        bench.link.publish(a_world(1))
        await eventually(lambda: bench.plane.ready)

    play(scene)
    assert "serving" in caplog.messages
