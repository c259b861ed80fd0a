"""Dispatch, deadlines and the counting of requests."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import pytest

from config.match import compile_patterns
from config.routes import Condition
from gateway import snapshot as module
from gateway.snapshot import Route, Snapshot, code_of
from gateway.telemetry.metrics import Metrics
from routing.match import View, compile_conditions
from routing.pool import Pool
from routing.table import Rule, Table, Variant
from tests.support.pools import a_pool
from transcoding.status import Code, GatewayError


def a_route(name: str = "r", timeout: float | None = None, metrics: Metrics | None = None) -> Route:
    pool = a_pool([])
    return Route(name, Table([], a_variant(name, pool)), timeout, metrics or Metrics())


def a_variant(route: str, pool: Pool, name: str = "", **more: str) -> Variant:
    return Variant(route, name, pool, pool.forward, **more)


def a_snapshot(*patterns: str | list[str]) -> Snapshot:
    """One route for each argument, named by its position."""
    lists = [[each] if isinstance(each, str) else each for each in patterns]
    return Snapshot([(compile_patterns(each), a_route(str(at))) for at, each in enumerate(lists)], {})


@pytest.mark.parametrize(
    ("model", "route"),
    [("resnet", "1"), ("resnet-50", "0"), ("resnet-x", "2"), ("bert", "3"), ("gpt", "3"), ("a-b", "4"), ("zzz", "5")],
)
def test_the_first_route_that_matches_takes_it(model: str, route: str) -> None:
    snapshot = a_snapshot("resnet-50", "resnet", "resnet*", ["bert", "g?t"], "[a-c]-b", "*", "resnet", "late")
    for _ in range(2):
        assert snapshot.dispatch(model).name == route


def test_a_glob_before_a_name_wins() -> None:
    assert a_snapshot("res*", "resnet").dispatch("resnet").name == "0"
    assert a_snapshot("resnet", "res*").dispatch("resnet").name == "0"
    assert a_snapshot(["x", "res*", "resnet"]).dispatch("resnet").name == "0"


def test_no_route_is_not_found() -> None:
    with pytest.raises(GatewayError, match="Request for unknown model: 'nope' is not found") as caught:
        a_snapshot("m").dispatch("nope")
    assert caught.value.code is Code.NOT_FOUND
    assert a_snapshot("m").find("nope") is None


def test_what_was_found_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MODELS", 10)
    snapshot = a_snapshot("*")
    for number in range(100):
        snapshot.dispatch(f"m{number}")
        assert len(snapshot._found) <= 10


def test_ten_thousand_names_cost_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = a_snapshot(*(f"m{number}" for number in range(10_000)))
    assert snapshot.dispatch("m9999").name == "9999"
    assert snapshot._globs == []  # nothing is tried one after the other


@pytest.mark.parametrize(
    ("timeout", "limit", "until", "due"),
    [
        (None, None, None, None),
        (None, None, 105.0, 105.0),
        (3.0, None, None, 103.0),
        (3.0, 2.0, None, 102.0),
        (None, 2.0, 101.0, 101.0),
        (3.0, 4.0, 109.0, 103.0),
    ],
)
def test_the_earliest_deadline_counts(
    timeout: float | None, limit: float | None, until: float | None, due: float | None
) -> None:
    class Loop:
        def time(self) -> float:
            return 100.0

    loop: Any = Loop()
    assert a_route(timeout=timeout).deadline(loop, limit, until) == due


def test_requests_are_counted_by_code() -> None:
    metrics = Metrics()
    route = a_route("r", metrics=metrics)
    for code in (0, 0, Code.NOT_FOUND):
        route.in_flight.value += 1
        assert metrics.snapshot().gauges["penstock_inflight"] == {("r",): 1}
        route.finish("inference", code, perf_counter() - 0.02, "")
    route.in_flight.value += 1
    route.finish("inference", 0, perf_counter(), "canary")
    values = metrics.snapshot()
    assert values.gauges["penstock_inflight"] == {("r",): 0}
    assert values.counters["penstock_requests_total"] == {
        ("r", "inference", "OK", ""): 2,
        ("r", "inference", "NOT_FOUND", ""): 1,
        ("r", "inference", "OK", "canary"): 1,
    }
    durations = values.histograms["penstock_request_duration_seconds"]
    assert {labels: sum(counts) for labels, (counts, _) in durations.items()} == {("r", ""): 3, ("r", "canary"): 1}
    counts, total = durations["r", ""]
    assert sum(counts) == 3
    assert 0.06 <= total < 1


def test_a_route_built_anew_counts_on() -> None:
    metrics = Metrics()
    before, after = a_route("r", metrics=metrics), a_route("r", metrics=metrics)
    before.in_flight.value += 1
    assert after.in_flight.value == 1
    before.finish("inference", 0, perf_counter(), "")
    assert after.in_flight.value == 0


def test_how_an_exception_is_counted() -> None:
    assert code_of(GatewayError(Code.ABORTED, "")) is Code.ABORTED
    assert code_of(asyncio.CancelledError()) is Code.CANCELLED
    assert code_of(KeyError()) is Code.INTERNAL


def test_they_say_what_they_are() -> None:
    pool = a_pool([])
    table = Table([], a_variant("r", pool, version="2"))
    assert repr(Route("r", table, None, Metrics())) == "<Route r: <Variant r to p version 2>>"
    assert repr(a_route()) == "<Route r: <Variant r to p>>"


def test_a_route_without_a_choice_has_one_variant() -> None:
    route = a_route()
    assert route.only is route.table.defaults[0] is route.choose(View("rest", "infer", "m", {}))


def test_a_route_with_rules_chooses() -> None:
    pool = a_pool([])
    canary = a_variant("r", pool, "canary")
    rule = Rule(compile_conditions([Condition(header="x-canary", present=True)]), canary)
    route = Route("r", Table([rule], a_variant("r", pool)), None, Metrics())
    assert route.only is None
    assert route.choose(View("rest", "infer", "m", {b"x-canary": b""})) is canary
    assert route.choose(View("rest", "infer", "m", {})) is route.table.defaults[0]
