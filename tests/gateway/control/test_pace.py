"""How often pages are read."""

from __future__ import annotations

import pytest

from gateway.control.pace import (
    CPU_SHARE,
    LOOK_CPU,
    NODE_SHARE,
    QUIET,
    SLOWEST_FAILING,
    SLOWEST_QUIET,
    SLOWEST_STRETCH,
    Budget,
    Pace,
)

INTERVAL = 0.15


def test_a_busy_endpoint_is_read_at_its_interval() -> None:
    pace = Pace(INTERVAL)
    assert {pace.good(True, 0.0001) for _ in range(100)} == {INTERVAL}
    assert not pace.quiet


def test_a_quiet_one_is_read_more_rarely_after_a_while_and_at_once_again() -> None:
    pace = Pace(INTERVAL)
    pauses = [pace.good(False, 0.0) for _ in range(60)]
    at_interval = sum(pauses[: pauses.index(2 * INTERVAL)])
    assert at_interval == pytest.approx(QUIET, abs=2 * INTERVAL)
    assert pauses[-1] == SLOWEST_QUIET
    assert pauses == sorted(pauses)
    assert pace.quiet
    assert pace.good(True, 0.0) == INTERVAL
    assert not pace.quiet


def test_an_interval_longer_than_the_slowest_stays() -> None:
    pace = Pace(30.0)
    assert {pace.good(False, 0.0) for _ in range(60)} == {30.0}


def test_one_without_a_page_is_asked_ever_more_rarely_until_woken() -> None:
    pace = Pace(INTERVAL)
    pauses = [pace.failed() for _ in range(30)]
    assert pauses[:3] == [2 * INTERVAL, 4 * INTERVAL, 8 * INTERVAL]
    assert pauses[-1] == SLOWEST_FAILING
    assert pace.failures == 30
    pace.wake()
    assert pace.failed() == 2 * INTERVAL
    assert pace.good(True, 0.0) == INTERVAL


def test_a_page_that_takes_long_to_read_is_read_less_often() -> None:
    pace = Pace(INTERVAL)
    assert pace.good(True, 0.1) == pytest.approx(0.1 / CPU_SHARE)
    assert pace.good(True, 0.0) == INTERVAL


def test_few_pages_are_not_slowed() -> None:
    budget = Budget()
    for _ in range(100):
        budget.spend(100e-6)
        budget.settle(0.1, 1.0)  # the process is busy with something else
    assert budget.stretch == 1.0


def test_many_pages_take_no_more_than_their_share() -> None:
    budget, spent, each, liveness = Budget(), 0.0, 200e-6, 0.01
    for step in range(1000):
        looks = round(5000 * 0.1 / budget.stretch)  # 5,000 looks a second are wanted: more than a core
        for _ in range(looks):
            budget.spend(each)
        cpu = looks * (each + LOOK_CPU / 3) + liveness * 0.1  # as it turns out
        if step >= 500:
            spent += cpu
        budget.settle(0.1, cpu)
    assert spent / 50 == pytest.approx(NODE_SHARE, rel=0.1)
    for _ in range(200):
        budget.settle(0.1, 0.01)
    assert budget.stretch == 1.0


def test_what_else_control_does_slows_the_pages_no_more_than_their_own_cost_could() -> None:
    budget = Budget()
    for _ in range(1000):
        for _ in range(round(1000 * 0.1 / budget.stretch)):
            budget.spend(0.0)
        budget.settle(0.1, 0.1)  # a whole core
    assert budget.stretch == pytest.approx(1000 * LOOK_CPU / NODE_SHARE, rel=0.1)


def test_pages_are_read_however_much_they_cost() -> None:
    budget = Budget()
    for _ in range(1000):
        budget.spend(1.0)
        budget.settle(0.1, 0.1)
    assert budget.stretch == SLOWEST_STRETCH
