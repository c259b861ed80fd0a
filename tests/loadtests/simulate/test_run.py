"""Runs repeat, leave nothing in flight, and put ways to choose in their known order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.simulate.peers import NAMES
from loadtests.simulate.run import Run
from loadtests.simulate.scenarios import ALL, Scenario

SMALL = replace(ALL["low"], endpoints=16, gateways=4)
EVERYTHING = replace(
    SMALL, models=ALL["mixed"].models, slow=0.25, skew=0.5, churn=0.5, direct=0.3, batching=ALL["batching"].batching
)


@pytest.mark.parametrize("choice", NAMES)
@pytest.mark.parametrize("scenario", [SMALL, EVERYTHING], ids=["low", "everything"])
def test_every_choice_serves_every_request_and_repeats(scenario: Scenario, choice: str) -> None:
    run = Run(scenario, choice, seed=7)
    outcome = run.go(800)
    assert outcome == Run(scenario, choice, seed=7).go(800)
    assert 0 < outcome.p50 <= outcome.p99
    assert 0 < outcome.utilisation <= 1
    for gateway in run._gateways:
        assert all(endpoint.in_flight == 0 == endpoint.seconds for endpoint in gateway.endpoints)
        assert all(gateway.board.in_flight(slot) == 0 for slot in range(gateway.board.slots))


def test_ours_is_better_than_what_sees_as_much() -> None:
    p99 = {choice: Run(ALL["low"], choice, 1).go(6000).p99 for choice in ("ours", "oracle", "two-own", "round-robin")}
    assert p99["oracle"] <= p99["ours"] <= 1.6 * p99["oracle"]
    assert p99["ours"] <= 0.6 * p99["two-own"]
    assert p99["ours"] <= p99["round-robin"]


COLD = replace(ALL["cold"], endpoints=8, gateways=2)


@pytest.mark.parametrize("scenario", [COLD, replace(COLD, pages=False)], ids=["pages", "no pages"])
def test_an_endpoint_whose_first_inference_was_slow_is_back_at_a_fair_share(scenario: Scenario) -> None:
    assert 0.0 <= Run(scenario, "ours", 1).go(16_000).recovered <= 30.0


def test_a_slow_endpoint_gets_no_more_for_being_tried_again() -> None:
    outcome = Run(ALL["slow-idle"], "ours", 1).go(20_000)
    assert outcome.p99 <= 1.1 * Run(ALL["slow-idle"], "oracle", 1).go(20_000).p99
