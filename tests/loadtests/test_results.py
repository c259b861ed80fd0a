"""Results: rounds to spreads and ratios, verdicts, JSON there and back."""

from __future__ import annotations

import json

import pytest

from loadtests.measure import Spread
from loadtests.results import Aim, Document, RowResult, decode, encode
from tests.support.bench_document import a_document


def test_a_failed_peer_has_no_figures() -> None:
    row = RowResult("r", "R", "cpu_us", ["cpu_us"])
    row.add("a", {"cpu_us": 1.0})
    row.fail("a", "LoadError: 503")
    assert row.samples == {}
    assert row.failed == {"a": "LoadError: 503"}


def test_ratio_is_of_the_same_rounds() -> None:
    row = RowResult("r", "R", "cpu_us", ["cpu_us"], samples={"a": {"cpu_us": [1, 30]}, "b": {"cpu_us": [2, 20]}})
    assert row.ratio("a", "b", "cpu_us") == Spread(1.0, 0.5, 1.5, 2)
    assert row.ratio("a", "nobody", "cpu_us") is None


def test_a_peer_of_fewer_rounds_has_the_ratio_of_those() -> None:
    row = RowResult("r", "R", "cpu_us", ["cpu_us"], samples={"a": {"cpu_us": [1, 9, 9]}, "b": {"cpu_us": [2]}})
    assert row.ratio("a", "b", "cpu_us") == Spread(0.5, 0.5, 0.5, 1)


@pytest.mark.parametrize(
    ("peer", "limit", "met"), [("envoy", 0.5, True), ("envoy", 0.39, False), (None, 40.0, True), ("nobody", 1.0, None)]
)
def test_verdicts(peer: str | None, limit: float, met: bool | None) -> None:
    document = a_document()
    document.aims = [Aim("small", "cpu_us", peer, limit, 0.1, "text")]
    assert [verdict.met for verdict in document.verdicts()] == [met]


def test_an_aim_of_a_row_that_did_not_run_has_no_verdict() -> None:
    document = a_document()
    document.aims = [Aim("another", "cpu_us", None, 1, 1, "text")]
    assert document.verdicts() == []


def test_json_there_and_back() -> None:
    document = a_document()
    assert decode(encode(document)) == document


def test_json_carries_what_follows_from_the_samples() -> None:
    plain = json.loads(encode(a_document()))
    row = plain["rows"][0]
    assert row["spreads"]["penstock"]["cpu_us"] == {"median": 40.0, "low": 30.0, "high": 50.0, "rounds": 3}
    assert row["ratios"]["envoy"]["median"] == pytest.approx(0.4)
    assert [verdict["met"] for verdict in plain["verdicts"]] == [True, False]


def test_failures_are_listed() -> None:
    document: Document = a_document()
    assert document.failures == ["small: obvious: LoadError: HTTP status 400"]
