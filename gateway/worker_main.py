"""The worker process around the data plane: its link to control, a report each second, and what SIGTERM does."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Protocol

from gateway.hints import Refresh
from gateway.lifeline import Exit
from gateway.link import OnWorld, WorkerLink
from gateway.memory import keep_freed_memory
from gateway.telemetry.metrics import Metrics, measure_process
from gateway.waiting import Ask
from gateway.world import KeySet, Places, Report, World
from routing.load_board import LoadBoard

REPORT_INTERVAL = 1.0
LAG_TICKS = 10
"""Timers per report by which the event loop's lag is measured; the worst counts."""
GC_THRESHOLDS = (50_000, 20, 20)

_log = logging.getLogger(__name__)


class DataPlane(Protocol):
    """What a worker runs: `gateway.worker.DataPlane`. `load` is how it has models loaded."""

    ready: bool
    load: Ask

    async def apply(self, world: World) -> None:
        """Take over `world`. The first call opens the listeners and raises `OSError` if it cannot."""

    def take_keys(self, keys: KeySet) -> None:
        """Know these API keys from now on."""

    def take_places(self, places: Places) -> None:
        """Know which shares of the endpoints are this gateway's own."""

    def report(self) -> None:
        """Set gauges; called just before each report."""

    async def drain(self, delay: float, timeout: float) -> None:
        """Accept for `delay` seconds more, then let what runs end for at most `timeout` seconds."""

    async def close(self) -> None:
        """Close everything now."""


MakeDataPlane = Callable[[int, Metrics, Refresh, LoadBoard], DataPlane]


def tune_gc() -> None:
    """Keep the collector off the path of a request. What is alive after start stays alive, so it is taken out of all
    collections (`gc.freeze`); requests make hardly any cycles, so the young generation may grow 70 times larger than
    the default before it is looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Worker:
    """One data plane and its link. `run` it; `stop` drains and ends it. On the load board it begins with zeros: whoever
    had its number before ended with all that it had in flight."""

    def __init__(
        self, index: int, make: MakeDataPlane, connect: Callable[[OnWorld], WorkerLink], board: LoadBoard
    ) -> None:
        self._index = index
        self._link = connect(self._apply)
        self._metrics = Metrics()
        board.worker(index).clear()
        self._plane = make(index, self._metrics, self._link.refresh, board)
        self._plane.load = self._link.load
        self._link.on_keys = self._plane.take_keys
        self._link.on_places = self._plane.take_places
        self._world: World | None = None
        self._stop = asyncio.Event()
        self._exit = Exit.OK

    def stop(self) -> None:
        """Let `run` drain and return."""
        self._stop.set()

    async def run(self, delay: float = 0.0) -> int:
        """Serve until `stop`, then accept for `delay` seconds more and drain. Returns the exit code. Raises what the
        link or the data plane raised, if they failed."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._link.run(), name="link"), group.create_task(self._report_forever())]
                await self._stop.wait()
                if self._world is not None and self._exit == Exit.OK:
                    await asyncio.sleep(delay)
                    await self._plane.drain(0.0, self._world.config.drain.timeout)
                self._report()
                await asyncio.sleep(0)  # the link's transport writes at once; this lets a direct link take it
                for task in tasks:
                    task.cancel()
        finally:
            await self._plane.close()
        return self._exit

    async def _apply(self, world: World) -> None:
        """Give `world` to the data plane. A first one that cannot be applied ends the worker; a later one leaves the
        one before in force."""
        first = self._world is None
        try:
            await self._plane.apply(world)
        except OSError as error:
            _log.error("cannot apply generation %d: %s", world.generation, error)
            if first:
                self._exit = Exit.CANNOT_LISTEN
                self.stop()
            return
        except Exception:
            if first:
                raise
            _log.exception("cannot apply generation %d; the one before stays", world.generation)
            return
        self._world = world
        if first:
            tune_gc()
            keep_freed_memory()
            _log.info("serving", extra={"worker": self._index, "generation": world.generation})
        self._report()

    async def _report_forever(self) -> None:
        lag = self._metrics.gauge("penstock_loop_lag_seconds", (str(self._index),))
        while True:
            lag.value = await _worst_lag(REPORT_INTERVAL / LAG_TICKS, LAG_TICKS)
            self._report()

    def _report(self) -> None:
        self._plane.report()
        measure_process(self._metrics, f"worker {self._index}")
        generation = self._world.generation if self._world is not None else 0
        values = self._metrics.snapshot()
        ready = self._plane.ready and self._world is not None
        self._link.send_report(
            Report(self._index, generation, ready, values.counters, values.gauges, values.histograms)
        )


async def _worst_lag(tick: float, ticks: int) -> float:
    """Sleep `ticks` times `tick` seconds; the most by which a timer was late, in seconds."""
    loop = asyncio.get_running_loop()
    worst = 0.0
    for _ in range(ticks):
        due = loop.time() + tick
        await asyncio.sleep(tick)
        worst = max(worst, loop.time() - due)
    return worst
