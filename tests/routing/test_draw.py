"""Draws follow weights, at any number, and slow start."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from routing.draw import REMEMBERED, Draw
from tests.support.pools import an_endpoint

NOW = 1e9


def drawn(weights: list[float], times: int = 8000) -> list[float]:
    candidates = tuple(an_endpoint(f"{number}:1") for number in range(len(weights)))
    for endpoint, weight in zip(candidates, weights, strict=True):
        endpoint.weight = weight
    draw = Draw(random.Random(3))
    counts = Counter(draw.one(candidates, NOW) for _ in range(times))
    return [counts[position] / times for position in range(len(weights))]


def test_equal_weights_are_drawn_alike() -> None:
    assert drawn([2.0] * 4) == pytest.approx([0.25] * 4, abs=0.02)


@pytest.mark.parametrize("weights", [[1, 3], [0.001, 1000, 1], [1, 2, 3, 4]])
def test_draws_are_in_proportion_to_weights(weights: list[float]) -> None:
    total = sum(weights)
    assert drawn(weights) == pytest.approx([weight / total for weight in weights], abs=0.02)


def test_two_are_different_and_all_pairs_come() -> None:
    candidates = tuple(an_endpoint(f"{number}:1") for number in range(4))
    draw = Draw(random.Random(3))
    pairs = [draw.two(candidates, NOW) for _ in range(2000)]
    assert all(a is not b for a, b in pairs)
    assert min(Counter(frozenset((a.address, b.address)) for a, b in pairs).values()) > 250


def test_two_are_different_though_one_weighs_almost_everything() -> None:
    heavy, light = an_endpoint("a:1"), an_endpoint("b:1")
    heavy.weight = 1000.0
    draw = Draw(random.Random(3))
    assert all(len(set(draw.two((heavy, light), NOW))) == 2 for _ in range(100))


def test_the_first_goes_round_where_all_weigh_the_same() -> None:
    candidates = tuple(an_endpoint(f"{number}:1") for number in range(3))
    draw = Draw(random.Random(3))
    assert Counter(draw.first(candidates, NOW) for _ in range(30)) == {0: 10, 1: 10, 2: 10}


def test_slow_start_is_drawn_more_rarely() -> None:
    candidates = tuple(an_endpoint(f"{number}:1") for number in range(4))
    candidates[2].slow_start = 1000.0
    candidates[2].learn(False, True, "", {})
    candidates[2].learn(True, True, "", {})
    now = candidates[2].fleet.clock()
    draw = Draw(random.Random(3))
    for how in (draw.one, draw.first):
        counts = Counter(how(candidates, now) for _ in range(4000))
        assert 0 < counts[2] < 300


def test_what_is_remembered_is_bounded() -> None:
    draw = Draw(random.Random(3))
    endpoint = an_endpoint("a:1")
    kept = [(endpoint, endpoint) for _ in range(REMEMBERED + 10)]
    for candidates in kept:
        draw.one(candidates, NOW)
    assert len(draw._sums) <= REMEMBERED
