"""Models are loaded when they are asked for: once, within bounds, and with an answer whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from config.schema import DesiredModel, Models
from gateway.control import on_demand as module
from gateway.control import placement
from gateway.control.load_metrics import LoadMetrics
from gateway.control.model_client import Unreachable, Used
from gateway.control.on_demand import OnDemand
from gateway.control.residents import Residents
from gateway.telemetry.metrics import Metrics
from gateway.world import Outcome
from tests.support.deadline import eventually
from tests.support.model_fleet import ModelFleet
from tests.support.model_host import ModelHost

NAMES = [f"m{number}" for number in range(12)]


class Bench:
    def __init__(self, endpoints: int = 1, **settings: Any) -> None:
        self.hosts = [ModelHost(f"h{number}:1", NAMES, load_seconds=0.02) for number in range(endpoints)]
        self.fleet = ModelFleet(*self.hosts)
        self.metrics = Metrics()
        settings = {"max_loaded": 3, "load_timeout": 5.0, "failure_backoff": 0.3} | settings
        self.models = Models(mode="on_demand", **settings)
        self.memory: dict[str, int] = {}
        self.residents = Residents(self.fleet.sites, measure=self.memory.get)
        self.demand = OnDemand("p", self.models, self.fleet.sites, self.residents, LoadMetrics(self.metrics, "p"))

    @property
    def host(self) -> ModelHost:
        return self.hosts[0]

    async def ready(self, *models: str) -> None:
        for model in models:
            assert await self.demand.load(model) == Outcome("ready")

    def unloads(self, why: str) -> float:
        return self.metrics.counter("penstock_model_unloads_total", ("p", why)).value


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "SETTLE", 0.05)
    monkeypatch.setattr(placement, "LONGEST_SETTLE", 0.1)
    monkeypatch.setattr(module, "BUSY_POLL", 0.01)
    monkeypatch.setattr(module, "TICK", 0.05)


def play(bench: Bench, scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        running = asyncio.ensure_future(bench.demand.run())
        try:
            async with asyncio.timeout(20):
                await scene(bench)
        finally:
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(run())


def test_a_burst_for_a_cold_model_loads_it_once() -> None:
    async def scene(bench: Bench) -> None:
        told: list[str] = []
        outcomes = await asyncio.gather(*(bench.demand.load("m0", told.append) for _ in range(500)))
        assert set(outcomes) == {Outcome("ready")}
        assert bench.host.loads == {"m0": 1}
        assert set(told) == {"it is being loaded on h0:1"}
        assert bench.fleet.refreshed == ["h0:1"]
        assert await bench.demand.load("m0") == Outcome("ready")
        assert bench.host.loads == {"m0": 1}

    play(Bench(), scene)


def test_a_model_that_nobody_has_is_not_tried() -> None:
    async def scene(bench: Bench) -> None:
        outcome = await bench.demand.load("nothing")
        assert outcome.state == "unknown"
        assert outcome.reason == "no endpoint of pool 'p' has model 'nothing' in its repository"
        assert not bench.host.loads

    play(Bench(), scene)


def test_while_nobody_is_live_nobody_knows_whether_a_model_is_unknown() -> None:
    async def scene(bench: Bench) -> None:
        bench.host.live = False
        assert await bench.demand.load("m1") == Outcome("busy", "no endpoint of pool 'p' is live", 1.0)
        bench.host.live = True
        await bench.ready("m1")

    play(Bench(), scene)


def test_the_longest_unused_makes_room_and_the_listed_ones_stay() -> None:
    async def scene(bench: Bench) -> None:
        for model in ("m0", "m1", "m2"):
            await bench.ready(model)
            bench.host.used_at[model] = Used(1, 1000.0 + int(model[1:]))
        await asyncio.sleep(0.06)
        await bench.ready("m3")
        assert bench.host.resident() == {"m0", "m2", "m3"}  # m0 is listed
        assert bench.unloads("room") == 1
        assert bench.fleet.log == [("withdraw", "h0:1", "m1"), ("restore", "h0:1", "m1")]
        assert bench.host.most == 3

    play(Bench(load=(DesiredModel("m0"),)), scene)


def test_there_is_no_room_while_all_are_in_use() -> None:
    async def scene(bench: Bench) -> None:
        await bench.ready("m0", "m1", "m2")
        for model in ("m0", "m1", "m2"):
            bench.fleet.in_use["h0:1", model] = 1
        await asyncio.sleep(0.06)
        told: list[str] = []
        waiting = asyncio.ensure_future(bench.demand.load("m3", told.append))
        await eventually(lambda: told)
        assert told == ["no room: every loaded model is in use"]
        bench.fleet.in_use["h0:1", "m1"] = 0
        assert await waiting == Outcome("ready")
        assert bench.host.resident() == {"m0", "m2", "m3"}

    play(Bench(), scene)


def test_waiting_for_room_ends_with_the_time_for_a_load() -> None:
    async def scene(bench: Bench) -> None:
        await bench.ready("m0")
        bench.fleet.in_use["h0:1", "m0"] = 1
        assert await bench.demand.load("m1") == Outcome("busy", "no room: every loaded model is in use", 1.0)

    play(Bench(max_loaded=1, load_timeout=0.3), scene)


def test_one_that_is_used_again_while_it_is_to_go_stays() -> None:
    async def scene(bench: Bench) -> None:
        await bench.ready("m0", "m1")
        bench.host.used_at = {"m0": Used(1, 1000.0), "m1": Used(1, 2000.0)}
        await asyncio.sleep(0.06)
        bench.fleet.patience = 0.02
        late = bench.fleet.withdraw

        async def withdraw(address: str, model: str) -> bool:
            bench.fleet.in_use["h0:1", "m0"] = 1  # a request that was on its way
            return await late(address, model)

        bench.fleet.withdraw = withdraw  # type: ignore[method-assign]
        await bench.ready("m2")
        assert bench.host.resident() == {"m0", "m2"}
        assert bench.host.unloads == {"m1": 1}

    play(Bench(max_loaded=2), scene)


def test_a_failure_is_told_remembered_and_tried_again_after_a_while() -> None:
    async def scene(bench: Bench) -> None:
        bench.host.broken["m0"] = bench.hosts[1].broken["m0"] = "no such file"
        outcomes = await asyncio.gather(*(bench.demand.load("m0") for _ in range(20)))
        assert {(each.state, each.reason) for each in outcomes} == {("failed", "no such file")}
        assert [host.loads["m0"] for host in bench.hosts] == [1, 1]
        again = await bench.demand.load("m0")
        assert (again.state, again.reason) == ("failed", "no such file")
        assert 0 < again.retry_after <= 0.3
        assert bench.demand.troubles() == ["model m0: no such file"]
        assert sum(host.loads["m0"] for host in bench.hosts) == 2
        await asyncio.sleep(again.retry_after)
        assert (await bench.demand.load("m0")).retry_after > 0.3  # doubled
        await asyncio.sleep(0.7)
        for host in bench.hosts:
            host.broken.clear()
        await bench.ready("m0")
        assert bench.demand.troubles() == []

    play(Bench(endpoints=2), scene)


def test_an_endpoint_on_which_it_failed_is_not_the_next_one_tried() -> None:
    async def scene(bench: Bench) -> None:
        bench.hosts[0].broken["m0"] = "out of memory"
        await bench.ready("m0")
        assert [host.loads["m0"] for host in bench.hosts] == [1, 1]

    play(Bench(endpoints=2), scene)


def test_a_load_that_ends_a_triton_is_not_tried_on_the_next_one_at_once() -> None:
    class Fragile(ModelHost):
        async def load(self, model: str, config: str | None, timeout: float) -> None:
            self.loads[model] += 1
            self.live = False
            raise Unreachable(f"{self.address} does not answer")

    async def scene(bench: Bench) -> None:
        bench.hosts[:] = [Fragile(host.address, NAMES) for host in bench.hosts]
        bench.fleet.hosts.clear()
        bench.fleet.hosts.update({host.address: host for host in bench.hosts})
        waiting = asyncio.ensure_future(bench.demand.load("m0"))
        await asyncio.sleep(0.2)
        assert sum(host.loads["m0"] for host in bench.hosts) == 1
        outcome = await waiting
        assert outcome.state == "failed"
        assert "does not answer" in outcome.reason
        assert sum(host.loads["m0"] for host in bench.hosts) == 2
        assert bench.hosts[2].live

    play(Bench(endpoints=3), scene)


def test_it_waits_for_a_load_that_somebody_else_began() -> None:
    async def scene(bench: Bench) -> None:
        bench.host.states["m0"] = "LOADING"
        waiting = asyncio.ensure_future(bench.demand.load("m0"))
        await asyncio.sleep(0.1)
        bench.host.states["m0"] = "READY"
        assert await waiting == Outcome("ready")
        assert not bench.host.loads

    play(Bench(), scene)


def test_loads_go_to_the_endpoint_with_room_and_not_all_to_one() -> None:
    async def scene(bench: Bench) -> None:
        await asyncio.gather(*(bench.ready(model) for model in NAMES[:6]))
        assert [len(host.resident()) for host in bench.hosts] == [3, 3]
        assert bench.unloads("room") == 0

    play(Bench(endpoints=2), scene)


def test_bounds_hold_and_all_are_served_under_changing_demand() -> None:
    async def scene(bench: Bench) -> None:
        chance = random.Random(7)
        served = 0

        async def client() -> None:
            nonlocal served
            for _ in range(15):
                model = NAMES[min(int(chance.paretovariate(0.8)) - 1, 11)]
                assert await bench.demand.load(model) == Outcome("ready")
                holder = next((h for h in bench.hosts if h.states[model] == "READY"), None)
                if holder is None or (holder.address, model) in bench.fleet.withdrawn:
                    continue  # it would ask again
                bench.fleet.in_use[holder.address, model] += 1
                assert holder.states[model] == "READY"
                await asyncio.sleep(chance.random() * 0.02)
                assert holder.states[model] == "READY"  # nothing goes under a request
                bench.fleet.in_use[holder.address, model] -= 1
                served += 1

        for host in bench.hosts:
            host.unload_seconds = 0.01
        await asyncio.gather(*(client() for _ in range(8)))
        assert served > 60
        assert max(host.most for host in bench.hosts) <= 3
        assert bench.unloads("room") > 0

    play(Bench(endpoints=2, load_timeout=15.0), scene)


def test_memory_is_kept_by_what_models_turn_out_to_take() -> None:
    async def scene(bench: Bench) -> None:
        sizes = {"m0": 40, "m1": 50, "m2": 30}

        def measure(address: str) -> int:
            return 1000 + sum(sizes.get(name, 0) for name in bench.host.resident())

        bench.residents._measure = measure
        await bench.ready("m0", "m1")
        assert bench.residents.sizes == {"m0": 40, "m1": 50}
        bench.host.used_at = {"m0": Used(1, 1000.0), "m1": Used(1, 2000.0)}
        await asyncio.sleep(0.06)
        await bench.ready("m2")  # as large as the largest, for all that is known
        assert bench.host.resident() == {"m1", "m2"}
        bench.residents.sizes["m2"] = 200
        bench.fleet.in_use["h0:1", "m2"] = 1
        await eventually(lambda: bench.host.resident() == {"m2"})  # it goes when it is found out
        outcome = await bench.demand.load("m3")
        assert outcome.state == "failed"
        assert outcome.reason == "it takes 200 bytes, and an endpoint has 100 for models"

    play(Bench(max_loaded=8, memory=100), scene)


def test_what_nobody_asks_for_is_unloaded() -> None:
    async def scene(bench: Bench) -> None:
        await bench.ready("m0", "m1")
        bench.fleet.in_use["h0:1", "m1"] = 1
        await eventually(lambda: bench.host.resident() == {"m1"})
        await eventually(lambda: bench.unloads("idle") == 1)

    play(Bench(idle_unload=0.2), scene)


def test_a_popular_model_spreads_and_shrinks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "CALM_SECONDS", 0.2)

    async def scene(bench: Bench) -> None:
        await bench.ready("m0")
        (first,) = [host for host in bench.hosts if host.resident()]
        bench.fleet.waits[first.address] = 2.0
        bench.fleet.in_use[first.address, "m0"] = 5
        await eventually(lambda: all("m0" in host.resident() for host in bench.hosts))
        await asyncio.sleep(0.4)
        assert all("m0" in host.resident() for host in bench.hosts)
        bench.fleet.waits.clear()
        bench.fleet.in_use.clear()
        await eventually(lambda: sum("m0" in host.resident() for host in bench.hosts) == 1)
        await eventually(lambda: bench.unloads("calm") == 1)
        await asyncio.sleep(0.5)
        assert sum("m0" in host.resident() for host in bench.hosts) == 1

    play(Bench(endpoints=2), scene)
