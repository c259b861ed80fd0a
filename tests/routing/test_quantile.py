"""The estimate is right to a bucket, on the upper side, and follows what changes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.quantile import BUCKETS, LOWEST, PER_OCTAVE, Quantile

STEP = 2 ** (1 / PER_OCTAVE)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99])
def test_it_finds_the_quantile_of_a_heavy_tail(q: float) -> None:
    rng = random.Random(1)
    values = [rng.lognormvariate(-4, 1) for _ in range(1000)]
    estimate = Quantile(q, 50)
    for value in values:
        estimate.observe(value)
    true = sorted(values)[int(q * len(values)) - 1]
    assert true * 0.8 <= estimate.value <= true * STEP * 1.2


def test_nothing_is_known_before_enough_values() -> None:
    estimate = Quantile(0.9, 50)
    for _ in range(49):
        estimate.observe(0.1)
    assert estimate.value == 0
    estimate.observe(0.1)
    assert 0.1 <= estimate.value <= 0.1 * STEP


def test_it_follows_a_change() -> None:
    estimate = Quantile(0.95, 10)
    for seconds in (0.01, 0.1, 0.001):
        for _ in range(5000):
            estimate.observe(seconds)
        assert seconds <= estimate.value * 1.0001 <= seconds * STEP * 1.001


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=200))
def test_any_value_falls_in_a_bucket(values: list[float]) -> None:
    estimate = Quantile(0.5, 1)
    for value in values:
        estimate.observe(value)
    assert LOWEST <= estimate.value <= LOWEST * 2 ** (BUCKETS / PER_OCTAVE)
