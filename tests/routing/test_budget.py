"""Extra requests never exceed their share, and whoever keeps within it is never refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.budget import TAU, Budget
from tests.support.clock import Clock

STEPS = st.lists(
    st.tuples(st.floats(0, 30), st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=30
)  # seconds that pass, requests, extra requests wanted


@settings(max_examples=100, deadline=None)
@given(STEPS, st.floats(0, 1), st.floats(0, 20))
def test_never_more_than_the_share_and_the_minimum(
    steps: list[tuple[float, int, int]], ratio: float, minimum: float
) -> None:
    clock = Clock()
    budget, start, extra = Budget(ratio, minimum, clock), clock.now, 0
    for seconds, requests, wanted in steps:
        clock.now += seconds
        budget.requests += requests
        extra += sum(budget.take() for _ in range(wanted))
        assert extra <= ratio * budget.requests + minimum * (clock.now - start + TAU) + 1e-6


@pytest.mark.parametrize("rate", [5, 100, 3000])
def test_when_all_fails_the_share_is_used_and_not_more(rate: int) -> None:
    clock = Clock()
    budget, extra, seconds = Budget(0.2, 0.0, clock), 0, 60
    for _ in range(rate * seconds):
        clock.now += 1 / rate
        budget.requests += 1
        extra += budget.take()
    assert extra / (rate * seconds) == pytest.approx(0.2, rel=0.1)


def test_a_burst_draws_on_what_the_last_seconds_earned() -> None:
    clock = Clock()
    budget = Budget(0.2, 0.0, clock)
    for _ in range(60):
        clock.now += 1
        budget.requests += 100
        budget.take()
    assert 150 < sum(budget.take() for _ in range(1000)) <= 200


def test_what_was_earned_long_ago_is_gone() -> None:
    clock = Clock()
    budget = Budget(0.2, 0.0, clock)
    budget.requests += 1000
    assert budget.take()
    clock.now += 20 * TAU
    assert not budget.take()


def test_the_minimum_is_there_without_requests_and_comes_back() -> None:
    clock = Clock()
    budget = Budget(0.2, 1.0, clock)
    assert sum(budget.take() for _ in range(100)) == TAU
    clock.now += 5
    assert 3 <= sum(budget.take() for _ in range(100)) <= 5


def test_a_clock_that_goes_back_gives_nothing() -> None:
    clock = Clock()
    budget = Budget(0.0, 0.1, clock)
    assert budget.take()
    clock.now -= 100
    assert not budget.take()
