"""Statistics: spreads, ratios within rounds, percentiles, turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.measure import Spread, microseconds_each, percentile, ratios, spread, turns

FIGURES = st.lists(st.floats(min_value=0.001, max_value=1e9), min_size=1, max_size=30)


def test_spread_is_median_and_extremes() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)


def test_spread_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        spread([])


@given(FIGURES)
def test_spread_is_ordered(values: list[float]) -> None:
    found = spread(values)
    assert found.low <= found.median <= found.high


def test_ratios_are_taken_within_a_round() -> None:
    """Both peers get slower together in the second round: the ratio of each round stays what it is."""
    assert ratios([1.0, 10.0], [2.0, 20.0]) == [0.5, 0.5]


def test_ratios_leave_out_rounds_with_nothing_to_divide_by() -> None:
    assert ratios([1.0, 2.0], [0.0, 4.0]) == [0.5]


def test_ratios_need_the_same_rounds() -> None:
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(("q", "expected"), [(0.0, 1), (0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10)])
def test_percentile_by_nearest_rank(q: float, expected: int) -> None:
    assert percentile(list(range(1, 11)), q) == expected


def test_percentile_rejects_nonsense() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        percentile([1.0], 50)


def test_microseconds_each() -> None:
    assert microseconds_each(0.5, 1000) == pytest.approx(500.0)
    with pytest.raises(ValueError, match="> 0"):
        microseconds_each(0.5, 0)


def test_turns_alternate_their_direction() -> None:
    assert turns(["a", "b", "c"], 3) == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]
