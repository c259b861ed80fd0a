"""The least loaded of up to four, the better of two random ones beyond."""

from __future__ import annotations

import random
from collections import Counter

from routing.pickers.least_inflight import Picker
from tests.support.pools import a_call, an_endpoint


def test_the_least_loaded_of_four_is_picked() -> None:
    endpoints = [an_endpoint(f"{number}:1") for number in range(4)]
    for endpoint, load in zip(endpoints, (3, 1, 2, 5), strict=True):
        endpoint.in_flight = load
    picker = Picker()
    assert {picker.pick(endpoints, a_call()).address for _ in range(20)} == {"1:1"}


def test_ties_spread_evenly() -> None:
    endpoints = [an_endpoint(f"{number}:1") for number in range(3)]
    picker = Picker()
    assert set(Counter(picker.pick(endpoints, a_call()).address for _ in range(30)).values()) == {10}


def test_of_many_the_better_of_two_is_picked_and_never_the_worst() -> None:
    endpoints = [an_endpoint(f"{number}:1") for number in range(50)]
    endpoints[7].in_flight = 100
    picker = Picker(random.Random(1))
    picked = Counter(picker.pick(endpoints, a_call()).address for _ in range(2000))
    assert "7:1" not in picked
    assert len(picked) == 49
