"""The models that are to be loaded are, whatever happens; others are left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from config.schema import DesiredModel, Models
from gateway.control.load_metrics import LoadMetrics
from gateway.control.model_client import mark_of
from gateway.control.models import DesiredModels, decide
from gateway.control.triton_process import StartError
from gateway.telemetry.metrics import Metrics
from gateway.world import ModelVersion
from tests.support.deadline import eventually
from tests.support.model_fleet import ModelFleet
from tests.support.model_host import ModelHost

PLAIN = DesiredModel("m")
BATCHED = DesiredModel("m", '{"max_batch_size": 8}')


def version(state: str) -> dict[str, ModelVersion]:
    return {"1": ModelVersion(state)}


@pytest.mark.parametrize(
    ("wanted", "versions", "mark", "action"),
    [
        (PLAIN, {}, None, "load"),
        (PLAIN, version("UNAVAILABLE"), None, "load"),
        (PLAIN, version("LOADING"), None, "nothing"),
        (PLAIN, version("UNLOADING"), None, "nothing"),
        (PLAIN, version("READY"), None, "ask"),
        (PLAIN, version("READY"), "", "nothing"),
        (PLAIN, version("READY"), "other", "replace"),
        (BATCHED, version("READY"), "", "reload"),
        (BATCHED, version("READY"), mark_of(BATCHED.config), "nothing"),
        (BATCHED, {"1": ModelVersion("READY"), "2": ModelVersion("LOADING")}, "", "nothing"),
    ],
)
def test_what_is_to_be_done(
    wanted: DesiredModel, versions: dict[str, ModelVersion], mark: str | None, action: str
) -> None:
    assert decide(wanted, versions, mark) == action


class Bench:
    def __init__(self, *load: DesiredModel) -> None:
        self.hosts = [ModelHost(address, ["m", "n", "theirs"]) for address in ("a:1", "b:1")]
        self.fleet = ModelFleet(*self.hosts)
        self.metrics = Metrics()
        self.models = self.make(*load)

    def settings(self, *load: DesiredModel) -> Models:
        return Models(mode="explicit", load=load, failure_backoff=0.1)

    def make(self, *load: DesiredModel) -> DesiredModels:
        return DesiredModels("p", self.settings(*load), self.fleet.sites, LoadMetrics(self.metrics, "p"))

    async def all(self, model: str, state: str = "READY") -> None:
        def reached() -> bool:
            self.models.wake()
            return all(host.states[model] == state for host in self.hosts if host.live)

        await eventually(reached)

    def loads(self, result: str) -> float:
        return self.metrics.counter("penstock_model_loads_total", ("p", result)).value


def play(bench: Bench, scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        running = asyncio.ensure_future(bench.models.run())
        try:
            async with asyncio.timeout(15):
                await scene(bench)
        finally:
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(run())


def test_what_is_missing_is_loaded_everywhere_and_again_when_it_goes() -> None:
    async def scene(bench: Bench) -> None:
        bench.hosts[0].states["theirs"] = "READY"
        await bench.all("m")
        bench.hosts[1].states["m"] = "UNAVAILABLE"
        await bench.all("m")
        assert bench.hosts[0].states == {"m": "READY", "n": "", "theirs": "READY"}
        assert [host.loads for host in bench.hosts] == [{"m": 1}, {"m": 2}]
        assert bench.loads("ok") == 3

    play(Bench(PLAIN), scene)


def test_one_that_comes_later_gets_them_too() -> None:
    async def scene(bench: Bench) -> None:
        bench.hosts[1].live = False
        await bench.all("m")
        assert bench.hosts[1].states["m"] == ""
        bench.hosts[1].live = True
        await bench.all("m")

    play(Bench(PLAIN), scene)


def test_a_changed_override_reloads_one_endpoint_after_the_other() -> None:
    async def scene(bench: Bench) -> None:
        await bench.all("m")
        for host in bench.hosts:
            host.load_seconds = 0.05
        bench.models.apply(bench.settings(BATCHED))
        await eventually(lambda: all(host.marks.get("m") == mark_of(BATCHED.config) for host in bench.hosts))
        assert all(not host.unloads for host in bench.hosts)
        bench.models.apply(bench.settings(PLAIN))
        await eventually(lambda: all(not host.marks and host.states["m"] == "READY" for host in bench.hosts))
        assert all(host.unloads == {"m": 1} for host in bench.hosts)
        # while one is away the other is not
        first, second = (bench.fleet.log.index(("withdraw", address, "m")) for address in ("a:1", "b:1"))
        earlier = bench.fleet.log[min(first, second)][1]
        assert bench.fleet.log.index(("restore", earlier, "m")) < max(first, second)

    play(Bench(PLAIN), scene)


def test_the_next_control_reloads_nothing() -> None:
    async def scene(bench: Bench) -> None:
        await eventually(lambda: all(host.marks.get("m") for host in bench.hosts))
        another = bench.make(BATCHED)
        running = asyncio.ensure_future(another.run())
        await eventually(lambda: len(another._marks) == 2)
        await asyncio.sleep(0.05)
        running.cancel()
        assert [host.loads["m"] for host in bench.hosts] == [1, 1]

    play(Bench(BATCHED), scene)


def test_a_failure_is_kept_with_its_reason_and_tried_again_more_rarely() -> None:
    async def scene(bench: Bench) -> None:
        bench.hosts[0].broken["m"] = "no such module"
        await eventually(lambda: bench.hosts[0].loads["m"] >= 3 or bench.models.wake())
        assert bench.models.troubles() == ["model m at a:1: no such module"]
        await bench_ready(bench.hosts[1])
        assert bench.loads("failed") >= 3
        bench.hosts[0].broken.clear()
        await bench.all("m")
        await eventually(lambda: bench.models.troubles() == [])

    async def bench_ready(host: ModelHost) -> None:
        await eventually(lambda: host.states["m"] == "READY")

    bench = Bench(PLAIN)
    play(bench, scene)


def test_a_reload_that_fails_leaves_the_model_as_it_was() -> None:
    async def scene(bench: Bench) -> None:
        await bench.all("m")
        for host in bench.hosts:
            host.broken["m"] = "bad override"
        bench.models.apply(bench.settings(BATCHED))
        await eventually(lambda: len(bench.models.troubles()) == 2)
        assert all(host.states["m"] == "READY" and not host.unloads for host in bench.hosts)

    play(Bench(PLAIN), scene)


def test_what_is_listed_no_more_is_unloaded_once_and_then_left_alone() -> None:
    async def scene(bench: Bench) -> None:
        await bench.all("m")
        await bench.all("n")
        bench.models.apply(bench.settings(PLAIN))
        await bench.all("n", "UNAVAILABLE")
        unloads = bench.metrics.counter("penstock_model_unloads_total", ("p", "unlisted"))
        await eventually(lambda: unloads.value == 2)
        for host in bench.hosts:
            host.states["n"] = "READY"  # a client wants it
        await asyncio.sleep(0.1)
        bench.models.wake()
        await asyncio.sleep(0.1)
        assert [host.states["n"] for host in bench.hosts] == ["READY", "READY"]
        assert [host.unloads["m"] for host in bench.hosts] == [0, 0]

    play(Bench(PLAIN, DesiredModel("n")), scene)


def test_an_endpoint_is_prepared_before_it_joins() -> None:
    async def scene(bench: Bench) -> None:
        fresh = ModelHost("c:1", ["m", "n"])
        bench.fleet.hosts["c:1"] = fresh
        fresh.live = False
        await bench.models.prepare("c:1")
        assert fresh.states == {"m": "READY", "n": "READY"}
        fresh.states["n"] = ""
        fresh.broken["n"] = "no memory"
        with pytest.raises(StartError, match="model n does not load: no memory"):
            await bench.models.prepare("c:1")

    play(Bench(PLAIN, DesiredModel("n")), scene)
