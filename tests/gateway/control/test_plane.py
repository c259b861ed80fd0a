"""What control makes of polls and workers: worlds, readiness, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from config.schema import Config, Endpoint, Match, Pool, Readiness, Route, Target
from gateway.control.inventory import Poll
from gateway.control.plane import Plane
from gateway.world import Hello, ModelVersion, Report, World
from tests.support.deadline import eventually
from tests.support.gateway_process import a_config

GOOD = Poll(live=True, models={"m": {"1": ModelVersion("READY")}})
BAD = Poll(live=False, reason="refused")


class Fleet:
    """Scripted endpoints, by address."""

    def __init__(self) -> None:
        self.results: dict[str, Poll] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    def client(self, address: str) -> FleetClient:
        self.results.setdefault(address, GOOD)
        return FleetClient(self, address)


class FleetClient:
    def __init__(self, fleet: Fleet, address: str) -> None:
        self._fleet, self._address = fleet, address

    async def poll(self, timeout: float) -> Poll:
        await self._fleet.gate.wait()
        return self._fleet.results[self._address]

    async def close(self) -> None:
        pass


def two_pools() -> Config:
    readiness = Readiness(interval=60.0, failures=1)
    return msgspec.structs.replace(
        a_config("a:1", listen="127.0.0.1:1"),
        pools={name: Pool((Endpoint(f"{name}:1"), Endpoint(f"{name}:2")), readiness=readiness) for name in ("x", "y")},
        routes=(Route(Match(("m",)), Target("x"), name="first"), Route(Match(("*",)), Target("y"))),
    )


class Bench:
    def __init__(self, workers: int) -> None:
        self.fleet = Fleet()
        self.plane = Plane(two_pools(), workers, self.fleet.client)
        self.worlds: list[World] = []
        self.changes = 0
        self.plane.attach(self.worlds.append)
        self.plane.on_change(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def connect(self, worker: int, pid: int = 1, ready: bool = True, requests: float = 0.0) -> None:
        self.plane.hello(Hello(worker, pid))
        self.report(worker, ready, requests)

    def report(self, worker: int, ready: bool = True, requests: float = 0.0) -> None:
        counters = {"penstock_requests_total": {("r", "inference", "OK", ""): requests}}
        generation = self.worlds[-1].generation if self.worlds else 1
        self.plane.report(Report(worker, generation, ready, counters, {"penstock_inflight": {("r",): 3.0}}, {}))

    def metric(self, start: str) -> float:
        body, _ = self.plane.metrics("")
        return next(float(line.rpartition(" ")[2]) for line in body.decode().splitlines() if line.startswith(start))


def play(scene: Callable[[Bench], Coroutine[Any, Any, None]], workers: int = 1) -> None:
    async def run() -> None:
        bench = Bench(workers)
        running = asyncio.get_running_loop().create_task(bench.plane.run())
        async with asyncio.timeout(10):
            await scene(bench)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(run())


def test_nothing_is_told_before_each_endpoint_was_polled() -> None:
    async def scene(bench: Bench) -> None:
        bench.fleet.gate.clear()
        await asyncio.sleep(0.05)
        assert bench.worlds == []
        bench.fleet.results["y:2"] = BAD
        bench.fleet.gate.set()
        await eventually(lambda: bench.worlds)
        (world,) = bench.worlds
        assert world.generation == 1
        assert [(state.address, state.live) for pool in world.pools.values() for state in pool] == [
            ("x:1", True),
            ("x:2", True),
            ("y:1", True),
            ("y:2", False),
        ]

    play(scene)


def test_changes_gather_into_one_world() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.worlds)
        bench.fleet.results = dict.fromkeys(bench.fleet.results, BAD)
        await asyncio.gather(bench.plane.refresh("x"), bench.plane.refresh("y"))
        await eventually(lambda: not any(state.live for pool in bench.worlds[-1].pools.values() for state in pool))
        await asyncio.sleep(0.05)
        assert [world.generation for world in bench.worlds] in ([1, 2], [1, 2, 3])

    play(scene)


def test_a_refresh_publishes_before_it_returns_and_only_news() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.worlds)
        await bench.plane.refresh("x")
        assert len(bench.worlds) == 1
        bench.fleet.results["x:1"] = Poll(live=True, models={})
        await bench.plane.refresh("x")
        assert len(bench.worlds) == 2
        assert bench.worlds[-1].pools["x"][0].models == {}

    play(scene)


def test_ready_needs_workers_endpoints_and_no_drain() -> None:
    async def scene(bench: Bench) -> None:
        plane = bench.plane
        assert plane.missing() == [
            "worker 0: not connected",
            "worker 1: not connected",
            "route first: pool x has no live endpoint (x:1: not polled yet; x:2: not polled yet)",
            "route 1: pool y has no live endpoint (y:1: not polled yet; y:2: not polled yet)",
        ]
        await eventually(lambda: bench.worlds)
        bench.connect(0)
        bench.connect(1, ready=False)
        assert plane.missing() == ["worker 1: not ready"]
        bench.report(1, ready=True)
        assert plane.missing() == []
        bench.fleet.results["x:1"] = BAD
        await plane.refresh("x")
        assert plane.missing() == []  # one of two is enough
        bench.fleet.results["x:2"] = BAD
        await plane.refresh("x")
        assert plane.missing() == ["route first: pool x has no live endpoint (x:1: refused; x:2: refused)"]
        bench.fleet.results["x:2"] = GOOD
        await plane.refresh("x")
        behind = "has not taken over the endpoints yet"
        assert plane.missing() == [f"worker 0: {behind}", f"worker 1: {behind}"]
        bench.report(0)
        bench.report(1)
        assert plane.missing() == []
        plane.gone(Hello(0, 1))
        assert plane.missing() == ["worker 0: not connected"]
        bench.connect(0)
        plane.drain()
        assert plane.missing() == ["draining"]
        assert bench.worlds[-1].draining
        assert bench.changes > 5

    play(scene, workers=2)


def test_a_worker_that_died_keeps_its_counts_and_is_counted() -> None:
    async def scene(bench: Bench) -> None:
        bench.connect(0, pid=10, requests=5.0)
        bench.plane.gone(Hello(0, 10))
        assert bench.metric("penstock_requests_total") == 5
        bench.connect(0, pid=10, requests=7.0)  # it only lost its connection
        assert bench.metric("penstock_requests_total") == 7
        bench.plane.gone(Hello(0, 10))
        bench.connect(0, pid=11, requests=1.0)
        assert bench.metric("penstock_requests_total") == 8
        assert bench.metric('penstock_worker_restarts_total{worker="0"}') == 1
        assert bench.metric("penstock_workers_ready") == 1
        assert bench.metric('penstock_inflight{route="r"}') == 3

    play(scene)


def test_control_reports_itself() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.worlds)
        assert bench.metric('penstock_endpoint_ready{endpoint="x:1",pool="x"}') == 1
        assert bench.metric("penstock_config_generation") == 1
        assert bench.metric("penstock_world_generation") == 1
        assert bench.metric("penstock_build_info") == 1
        assert bench.metric('penstock_process_resident_bytes{process="control"}') > 1e6

    play(scene)
