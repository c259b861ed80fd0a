"""Each candidate in turn, as often as its weight says and never in a row of its own."""

from __future__ import annotations

from collections import Counter

from config.pools import Pick
from routing.pickers import make
from tests.support.pools import a_call, an_endpoint


def test_each_in_turn() -> None:
    endpoints = tuple(an_endpoint(f"{number}:1") for number in range(3))
    picker = make(Pick("round_robin"))
    picked = [picker.pick(endpoints, a_call()).address for _ in range(9)]
    assert picked[:3] == picked[3:6] == picked[6:]
    assert sorted(picked[:3]) == ["0:1", "1:1", "2:1"]


def test_a_shrinking_set_is_no_trouble() -> None:
    endpoints = tuple(an_endpoint(f"{number}:1") for number in range(3))
    picker = make(Pick("round_robin"))
    for size in (3, 1, 2, 3):
        assert picker.pick(endpoints[:size], a_call()) in endpoints[:size]


def test_weights_are_exact_and_smooth() -> None:
    endpoints = tuple(an_endpoint(f"{number}:1") for number in range(3))
    endpoints[0].weight = 4.0
    endpoints[1].weight = 2.0
    picker = make(Pick("round_robin"))
    picked = [picker.pick(endpoints, a_call()).address for _ in range(700)]
    assert Counter(picked) == {"0:1": 400, "1:1": 200, "2:1": 100}
    for start in range(0, 690, 7):
        assert abs(Counter(picked[start : start + 7])["0:1"] - 4) <= 1


def test_models_on_other_endpoints_have_turns_of_their_own() -> None:
    endpoints = tuple(an_endpoint(f"{number}:1") for number in range(4))
    a, b = endpoints[:2], endpoints[2:]
    picker = make(Pick("round_robin"))
    picked = [picker.pick(candidates, a_call()).address for _ in range(10) for candidates in (a, b)]
    assert set(Counter(picked).values()) == {5}


def test_workers_do_not_begin_at_the_same_endpoint() -> None:
    endpoints = tuple(an_endpoint(f"{number}:1") for number in range(8))
    firsts = {make(Pick("round_robin")).pick(endpoints, a_call()).address for _ in range(100)}
    assert len(firsts) > 4
