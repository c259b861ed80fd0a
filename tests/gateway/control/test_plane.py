"""What control makes of polls and workers: worlds, readiness, metrics."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
import pytest

from config.load import parse
from config.schema import Config, Endpoint, Match, Pool, Readiness, Route, State, Target
from gateway.control import members
from gateway.control.inventory import Poll
from gateway.control.plane import Plane, cached
from gateway.world import Hello, ModelVersion, Place, Places, Report, World
from policies import registry
from tests.support.deadline import eventually
from tests.support.gateway_process import a_config
from tests.support.metrics_pages import page
from tests.support.page_server import PageServer
from tests.support.valkey import Valkey

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

    live = poll

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
    def __init__(self, workers: int, config: Config | None = None, node: str | None = None) -> None:
        self.fleet = Fleet()
        self.plane = Plane(config or two_pools(), workers, self.fleet.client, node=node)
        self.worlds: list[World] = []
        self.places: list[Places] = []
        self.changes = 0
        self.plane.attach(self.worlds.append, None, self.places.append)
        self.plane.on_change(self._changed)

    def is_told(self, place: Place) -> bool:
        """Its workers have this place, in both pools."""
        return self.places[-1:] == [Places({"x": place, "y": place})]

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
        lines = (line for line in body.decode().splitlines() if line.startswith(start))
        return next((float(line.rpartition(" ")[2]) for line in lines), 0.0)


def play(
    scene: Callable[[Bench], Coroutine[Any, Any, None]],
    workers: int = 1,
    config: Config | None = None,
    node: str | None = None,
) -> None:
    async def run() -> None:
        bench = Bench(workers, config, node)
        running = asyncio.get_running_loop().create_task(bench.plane.run())
        async with asyncio.timeout(10):
            await scene(bench)
        running.cancel()
        await asyncio.wait([running])
        await bench.plane.close()

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
        bench.fleet.results = dict.fromkeys(bench.fleet.results, BAD)
        await bench.plane.refresh("x", "x:2")
        assert [state.live for state in bench.worlds[-1].pools["x"]] == [True, False]

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


def test_worlds_name_the_rows_of_the_load_board() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.worlds)
        states = [state for pool in bench.worlds[-1].pools.values() for state in pool]
        rows = [row for state in states for row in (state.slot, state.models["m"]["1"].slot)]
        assert sorted(rows) == list(range(8))
        view = bench.plane.fleet_view("x", "m")
        assert [one["address"] for one in view["pools"]["x"]["endpoints"]] == ["x:1", "x:2"]

    play(scene)


def test_a_gateway_that_shares_no_store_is_alone() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: bench.worlds)
        told = bench.plane.fleet_view("", "")["pools"]["x"]["members"]
        assert (told["node"], told["count"], told["loads"]) == (0, 1, [1.0])
        assert bench.metric("penstock_members{") == 0.0
        assert bench.places == []

    play(scene)


def test_gateways_at_one_store_tell_their_workers_of_one_another(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "INTERVAL", 0.1)
    config = msgspec.structs.replace(two_pools(), state=State(valkey.url, prefix="t"))

    async def run() -> None:
        benches = [Bench(1, config, node) for node in ("a", "b")]
        running = [asyncio.get_running_loop().create_task(bench.plane.run()) for bench in benches]
        async with asyncio.timeout(10):
            for index, bench in enumerate(benches):
                await eventually(partial(bench.is_told, Place(index, (0.0, 0.0))))
                assert bench.metric('penstock_members{pool="x"}') == 2.0
                told = bench.plane.fleet_view("", "")["pools"]["x"]["members"]
                assert told == {"node": index, "count": 2, "names": ["a", "b"], "loads": [0.0, 0.0]}
            running[0].cancel()
            await asyncio.wait(running[:1])
            await benches[0].plane.close()
            await eventually(lambda: benches[1].is_told(Place(0, (0.0,))))
            running[1].cancel()
            await asyncio.wait(running)
            await benches[1].plane.close()

    asyncio.run(run())


def test_the_load_is_what_all_workers_sent(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "INTERVAL", 0.05)
    monkeypatch.setattr(members, "AVERAGED", 0.2)
    config = msgspec.structs.replace(two_pools(), state=State(valkey.url))

    async def scene(bench: Bench) -> None:
        loads = lambda: bench.plane.fleet_view("", "")["pools"]["x"]["members"]["loads"]  # noqa: E731
        started = time.monotonic()
        while (now := time.monotonic() - started) < 3.0:
            for worker, rate in ((0, 1.0), (1, 2.0)):
                counters = {"penstock_offered_seconds_total": {("x",): rate * now}}
                bench.plane.report(Report(worker, 1, True, counters, {}, {}))
            await asyncio.sleep(0.02)
        assert loads() == [pytest.approx(3.0, rel=0.3)]

    play(scene, 2, config, "a")


def test_what_a_dead_worker_had_in_flight_is_gone() -> None:
    async def scene(bench: Bench) -> None:
        ended = await asyncio.create_subprocess_exec("true")
        await ended.wait()
        for index, pid in ((0, ended.pid), (1, os.getpid())):
            bench.connect(index, pid)
            bench.plane.board.worker(index).add(5, 0.5)
            bench.plane.gone(Hello(index, pid))
        await eventually(lambda: bench.plane.board.in_flight(5) == 1)  # the other one has only lost its connection
        await asyncio.sleep(0.1)
        assert bench.plane.board.in_flight(5) == 1

    play(scene, workers=2)


def test_a_worker_in_the_place_of_another_begins_with_nothing_and_one_that_comes_back_goes_on() -> None:
    async def scene(bench: Bench) -> None:
        board = bench.plane.board
        board.worker(0).add(5, 0.5)
        bench.connect(0, pid=10)  # of the control before this one
        assert board.in_flight(5) == 1
        bench.connect(0, pid=10)
        assert board.in_flight(5) == 1
        bench.connect(0, pid=11)
        assert (board.in_flight(5), board.seconds(5)) == (0, 0.0)
        bench.connect(7, pid=1)  # more than the board has
        bench.connect(7, pid=2)

    play(scene)


def test_queues_and_service_times_are_metrics() -> None:
    async def run() -> None:
        async with PageServer(
            page({("m", "1"): {"pending": 3, "success": 4, "executions": 4, "infer_us": 80_000}})
        ) as server:
            config = msgspec.structs.replace(
                two_pools(), pools={"x": Pool((Endpoint("x:1", metrics=server.address),))}, routes=()
            )
            fleet = Fleet()
            bench = Bench(1)
            bench.plane = Plane(config, 1, fleet.client)
            running = asyncio.get_running_loop().create_task(bench.plane.run())
            await eventually(lambda: bench.metric("penstock_scrapes_total"))
            labels = '{endpoint="x:1",model="m",pool="x",version="1"}'
            assert bench.metric(f"penstock_endpoint_queue_depth{labels}") == 3
            assert bench.metric(f"penstock_endpoint_service_seconds{labels}") == 0.02
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(run())


def test_pools_of_which_answers_are_kept_are_known() -> None:
    text = """
    listen: [{address: "127.0.0.1:1"}]
    pools: {a: {endpoints: ["h:1"]}, b: {endpoints: ["h:2"]}, c: {endpoints: ["h:3"]}}
    policies: {kept: {kind: cache}}
    routes:
      - {match: {model: x}, to: {pool: a}, policies: [kept]}
      - {match: {model: y}, to: {pool: b}, policies: [{kind: timeout, total: 1s}]}
      - {match: {model: z}, to: {pool: c}, policies: [{kind: cache, ttl: 5s}]}
    """
    assert cached(parse(text, "test", policies=registry())) == {"a", "c"}
