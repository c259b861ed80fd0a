"""Every picker, found by directory, picks one of its candidates, spreads equal ones, and minds weights."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

import routing.pickers
from config.pools import Pick
from routing.aperture import Aperture
from routing.endpoint import Endpoint
from routing.fleet import Fleet
from routing.pickers import Picker, Tools, make
from tests.support.pools import a_call, an_endpoint

KINDS = sorted(path.stem for path in Path(routing.pickers.__path__[0]).glob("*.py") if path.stem != "__init__")
each_kind = pytest.mark.parametrize("kind", KINDS)


def a_picker(kind: str, aperture: Aperture | None = None) -> Picker:
    return make(Pick(kind), Tools(Fleet(), aperture or Aperture(), random.Random(1)))


def endpoints(count: int) -> tuple[Endpoint, ...]:
    return tuple(an_endpoint(f"{number}:1") for number in range(count))


def picks(picker: Picker, candidates: Sequence[Endpoint], times: int, hold: bool = False) -> Counter[str]:
    """How often each was picked, with another key each time; `hold` leaves all requests in flight."""
    picked: Counter[str] = Counter()
    for number in range(times):
        call = a_call()
        call.hash_key = b"%d" % number
        endpoint = picker.pick(candidates, call)
        assert endpoint in candidates
        picked[endpoint.address] += 1
        if hold:
            endpoint.take(call)
    return picked


@each_kind
@pytest.mark.parametrize("count", [1, 2, 4, 5, 64])
def test_picks_one_of_the_candidates_and_uses_all(kind: str, count: int) -> None:
    picked = picks(a_picker(kind), endpoints(count), count * 50)
    assert len(picked) == count
    assert max(picked.values()) < 150


@each_kind
@pytest.mark.parametrize("count", [4, 64])
def test_what_is_in_flight_spreads_evenly(kind: str, count: int) -> None:
    picked = picks(a_picker(kind), endpoints(count), count * 20, hold=True)
    assert len(picked) == count
    assert max(picked.values()) <= 30


@each_kind
@pytest.mark.parametrize("hold", [False, True])
def test_twice_the_weight_gets_twice_the_load(kind: str, hold: bool) -> None:
    candidates = endpoints(4)
    candidates[2].weight = 2.0
    picked = picks(a_picker(kind), candidates, 2000, hold)
    assert 0.33 < picked["2:1"] / 2000 < 0.47


@each_kind
def test_a_changed_set_of_candidates_is_no_trouble(kind: str) -> None:
    picker, candidates = a_picker(kind), endpoints(64)
    for size in (64, 1, 7, 64, 3):
        assert picks(picker, candidates[:size], 20).keys() <= {endpoint.address for endpoint in candidates[:size]}


@each_kind
def test_one_of_several_gateways_picks_from_candidates_too(kind: str) -> None:
    aperture = Aperture()
    aperture.place(2, [1.0] * 8)
    picked = picks(a_picker(kind, aperture), endpoints(64), 640, hold=True)
    assert max(picked.values()) < 100


@each_kind
def test_an_endpoint_that_comes_back_begins_with_less_than_its_share(kind: str) -> None:
    candidates = endpoints(4)
    back = candidates[1]
    back.slow_start = 1000.0
    back.learn(False, True, "gone", {})
    back.learn(True, True, "", {})
    picked = picks(a_picker(kind), candidates, 1000)
    assert picked["1:1"] < (100 if kind != "hash_ring" else 1000)
