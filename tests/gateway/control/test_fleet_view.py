"""The live state as JSON and as gauges."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from config.schema import Endpoint, Pool
from gateway.control import fleet_view as module
from gateway.control.fleet import Fleet
from gateway.control.fleet_view import describe, gauges, waits
from gateway.control.load import Shape
from gateway.control.slots import Slots
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState, ModelVersion
from routing.endpoint import FORGOTTEN_SECONDS
from routing.load_board import LoadBoard
from tests.support.metrics_pages import GPU, page

M1 = ("m", "1")
NOW = 1000.0


class Silent:
    """A client that never answers: the test hands the page over itself."""

    async def get(self, timeout: float) -> bytes:
        await asyncio.Event().wait()
        return b""

    def close(self) -> None: ...


class Bench:
    """Two endpoints, a:1 with a page and b:1 without, both with model m: version 1 is ready, 2 is not."""

    def __init__(self, text: bytes) -> None:
        self.board = LoadBoard.create(None, 16, 2)
        self.fleet = Fleet(
            self.board, Slots(self.board), Metrics(), lambda address: None, lambda *_: Silent(), clock=lambda: NOW
        )
        models = {"m": {"1": ModelVersion("READY"), "2": ModelVersion("UNAVAILABLE", "no file")}, "never": {}}
        states = (EndpointState("a:1", True, True, models), EndpointState("b:1", False, True, models, "refused"))
        endpoints = (Endpoint("a:1", weight=2.0), Endpoint("b:1"))
        self.pools = self.fleet.sync({"p": Pool(endpoints)}, {"p": endpoints}, {"p": states})
        for state in self.pools["p"]:
            self.board.worker(0).add(state.slot, 0.5)
            self.board.worker(1).add(state.models["m"]["1"].slot, 0.25)
        scraper = self.fleet.entries["a:1"].scraper
        assert scraper is not None
        if text:
            scraper._take(text, {})
            scraper.load.models[M1].shape = Shape(1)
            scraper.failure = ""
        other = self.fleet.entries["b:1"]
        self.fleet._stop(other)

    def view(self, pool: str = "", model: str = "", now: float = NOW) -> list[dict[str, Any]]:
        view = orjson.loads(orjson.dumps(describe(self.fleet, self.pools, pool, model, now)))
        endpoints: list[dict[str, Any]] = view["pools"]["p"]["endpoints"] if view["pools"] else []
        return endpoints


def a_bench(text: bytes = b"") -> Bench:
    async def run() -> Bench:
        bench = Bench(text)
        bench.fleet._stop(bench.fleet.entries["a:1"]) if not text else None
        return bench

    return asyncio.run(run())


BUSY = page({M1: {"pending": 4, "success": 10, "executions": 10, "infer_us": 1_000_000}})


def test_what_is_known_of_an_endpoint_and_its_models() -> None:
    one, other = a_bench(BUSY).view(now=NOW + FORGOTTEN_SECONDS)
    assert (one["address"], one["live"], one["weight"], one["in_flight"], one["queue_depth"]) == (
        "a:1",
        True,
        2.0,
        1,
        4,
    )
    assert one["metrics"] == {"address": "a:8002", "age_seconds": FORGOTTEN_SECONDS, "failure": None}
    assert one["others_seconds"] == pytest.approx(0.3)  # four wait, one of them is ours
    assert one["work_seconds"] == pytest.approx(0.5 + 0.3 / 2.71828, rel=1e-4)
    model = one["models"]["m"]["1"]
    assert (model["state"], model["queue_depth"], model["in_flight"], model["instances"]) == ("READY", 4, 1, 1)
    assert model["service_seconds"] == pytest.approx(0.1)
    assert model["expected_wait_seconds"] == pytest.approx(one["work_seconds"] / 2.0 + 0.1)
    assert one["models"]["m"]["2"] == {"state": "UNAVAILABLE", "reason": "no file"}
    assert one["models"]["never"] == {}
    assert (other["live"], other["reason"], other["metrics"], other["queue_depth"]) == (False, "refused", None, None)


def test_what_is_not_known_is_null() -> None:
    one = a_bench().view()[1]
    model = one["models"]["m"]["1"]
    assert {key: value for key, value in model.items() if value is None}.keys() == {
        "queue_depth", "executing", "instances", "service_seconds", "expected_wait_seconds",
    }  # fmt: skip
    assert model["in_flight"] == 1


def test_it_is_narrowed_by_pool_and_model() -> None:
    bench = a_bench(BUSY)
    assert bench.view(pool="q") == []
    assert len(bench.view(pool="p")) == 2
    assert set(bench.view(model="m")[0]["models"]) == {"m"}
    assert bench.view(model="other")[0]["models"] == {}


def test_gpus_are_shown() -> None:
    gpus = a_bench(GPU).view()[0]["gpus"]
    assert gpus[0] == {"uuid": "GPU-a", "utilization": 0.75, "memory_used": 4294967296.0, "memory_total": 16101933056.0}


def test_gauges_are_those_of_models_that_were_asked_for() -> None:
    text = page(
        {M1: {"pending": 2}, ("idle", "1"): {}, ("done", "1"): {"success": 1, "executions": 1, "infer_us": 5000}}
    )
    told = gauges(a_bench(text).fleet, a_bench(text).pools)
    assert told["penstock_endpoint_queue_depth"] == {("p", "a:1", "m", "1"): 2, ("p", "a:1", "done", "1"): 0}
    assert told["penstock_endpoint_service_seconds"]["p", "a:1", "done", "1"] == 0.005


def test_gauges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDPOINT_LIMIT", 3)
    bench = a_bench(page({M1: {"pending": 1}} | {(f"m{index}", "1"): {"pending": 1} for index in range(9)}))
    assert [len(each) for each in gauges(bench.fleet, bench.pools).values()] == [3, 3]


def test_the_hit_rate_is_of_all_calls() -> None:
    counters = {
        "penstock_model_waits_total": {("p", "loaded"): 3.0, ("p", "deadline"): 2.0, ("q", "loaded"): 9.0},
        "penstock_upstream_requests_total": {("p", "a:1", "ok"): 7.0, ("p", "b:1", "ok"): 1.0, ("q", "a:1", "ok"): 9.0},
    }
    assert waits(counters, "p") == {"calls": 10, "waits": {"loaded": 3, "deadline": 2}, "hit_rate": 0.5}
    assert waits({}, "p") == {"calls": 0, "waits": {}, "hit_rate": None}
