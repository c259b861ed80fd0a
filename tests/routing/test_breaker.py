"""When a breaker trips, for how long, and when it is due for a probe or no longer worth keeping."""

from __future__ import annotations

import pytest

from config.pools import Outliers
from routing.breaker import FORGOTTEN_SECONDS, WINDOW, Breaker
from tests.support.pools import a_call, an_endpoint

SPEC = Outliers(consecutive=3, success=0.5, requests=10, base=5.0, max=12.0)


def a_breaker() -> Breaker:
    return Breaker(an_endpoint(), ("m", ""), SPEC, 0.0)


def test_failures_in_a_row_trip_it() -> None:
    breaker = a_breaker()
    for good in (False, False, True, False, False):
        breaker.count(good, 0.0)
        assert not breaker.tripped
    breaker.count(False, 0.0)
    assert breaker.tripped


@pytest.mark.parametrize(("pattern", "trips"), [("x.x", True), (".x.", False)])
def test_a_small_share_of_good_calls_trips_it_once_there_are_enough(pattern: str, trips: bool) -> None:
    breaker = a_breaker()
    for number in range(9):
        breaker.count(pattern[number % 3] == ".", 0.1 * number)
    assert not breaker.tripped
    for number in range(9, 12):
        breaker.count(pattern[number % 3] == ".", 0.1 * number)
    assert breaker.tripped is trips


def test_what_happened_long_ago_does_not_count() -> None:
    breaker = a_breaker()
    for number in range(40):
        breaker.count(number % 2 == 0, 0.0)
    breaker.count(True, 5 * WINDOW)
    for _ in range(2):
        breaker.count(False, 5 * WINDOW)
    assert not breaker.tripped


def test_each_opening_in_a_row_lasts_longer_up_to_the_longest() -> None:
    breaker = a_breaker()
    assert [breaker.trip(0.0) for _ in range(4)] == [5.0, 10.0, 12.0, 12.0]


def test_it_is_due_when_its_time_is_over_and_nobody_tries_it() -> None:
    breaker = a_breaker()
    assert not breaker.due(100.0)
    breaker.trip(0.0)
    assert not breaker.due(4.9)
    assert breaker.due(5.0)
    breaker.probe = a_call()
    assert not breaker.due(5.0)
    breaker.close()
    assert not breaker.due(5.0)


def test_it_is_stale_after_a_quiet_time_and_a_closed_one_remembers_how_often_it_opened() -> None:
    breaker = a_breaker()
    assert not breaker.stale(WINDOW)
    assert breaker.stale(WINDOW + 1)
    for _ in range(3):
        breaker.trip(0.0)
    breaker.close()
    assert not breaker.stale(12.0 + 15.0)
    assert breaker.trip(20.0) == 12.0
    breaker.close()
    assert breaker.stale(20.0 + 12.0 + 20.1)


def test_an_open_one_that_nobody_asks_for_is_stale_at_last() -> None:
    breaker = a_breaker()
    breaker.trip(0.0)
    assert not breaker.stale(FORGOTTEN_SECONDS)
    assert breaker.stale(5.0 + FORGOTTEN_SECONDS + 1)
    breaker.probe = a_call()
    assert not breaker.stale(5.0 + FORGOTTEN_SECONDS + 1)
