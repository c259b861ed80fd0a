"""From polls to state, without a clock."""

from __future__ import annotations

import itertools
import time

import pytest

from config.schema import Readiness
from gateway.control.inventory import Inventory, Poll, new_load
from gateway.world import ModelVersion

READY = {"m": {"1": ModelVersion("READY")}}
GONE = {"m": {"1": ModelVersion("UNAVAILABLE", "unloaded")}}
GOOD = Poll(live=True, models=READY)
BAD = Poll(live=False, reason="refused")


def inventory(failures: int = 2, successes: int = 1) -> Inventory:
    return Inventory("gpu-0:8001", Readiness(failures=failures, successes=successes), lambda: 0)


def lives(one: Inventory, *polls: Poll) -> list[bool]:
    seen = []
    for poll in polls:
        one.observe(poll)
        seen.append(one.state.live)
    return seen


@pytest.mark.parametrize(
    ("failures", "successes", "polls", "expected"),
    [
        (2, 1, "G", "1"),  # the first poll decides, either way
        (2, 5, "G", "1"),
        (5, 1, "B", "0"),
        (2, 1, "GBGBGBB", "1111110"),  # failures have to be consecutive
        (3, 1, "GBBBG", "11101"),
        (1, 2, "GBGBGG", "100001"),
        (1, 1, "BGBG", "0101"),
    ],
)
def test_thresholds(failures: int, successes: int, polls: str, expected: str) -> None:
    one = inventory(failures, successes)
    results = [GOOD if poll == "G" else BAD for poll in polls]
    assert "".join(str(int(live)) for live in lives(one, *results)) == expected


def test_before_the_first_poll_nothing_is_known() -> None:
    state = inventory().state
    assert (state.live, state.known, state.models, state.reason) == (False, False, {}, "not polled yet")


def test_only_changes_are_told() -> None:
    one = inventory()
    assert one.observe(GOOD)
    assert not one.observe(GOOD)
    assert not one.observe(BAD)  # below the threshold
    assert one.observe(BAD)
    assert not one.observe(Poll(live=False, reason="another reason"))
    assert one.state.reason == "another reason"
    assert one.observe(GOOD)
    assert one.observe(Poll(live=True, models=GONE))


def test_the_first_poll_is_told_even_if_it_is_bad() -> None:
    one = inventory()
    assert one.observe(BAD)
    assert not one.observe(BAD)


def test_the_last_known_models_stay_while_not_live() -> None:
    one = inventory(failures=1)
    lives(one, GOOD, BAD)
    assert (one.state.live, one.state.known, one.state.models) == (False, True, READY)


def test_an_index_that_cannot_be_read_leaves_liveness() -> None:
    one = inventory()
    one.observe(Poll(live=True, reason="RepositoryIndex: UNAVAILABLE"))
    assert (one.state.live, one.state.known) == (True, False)
    assert one.observe(GOOD)
    assert not one.observe(Poll(live=True, reason="RepositoryIndex: UNAVAILABLE"))
    assert (one.state.known, one.state.models) == (True, READY)


@pytest.mark.parametrize("between", [BAD, Poll(live=True, renewed=True)])
def test_after_it_was_away_only_an_index_says_what_it_has(between: Poll) -> None:
    one = inventory(failures=2)
    one.observe(GOOD)
    assert one.settled
    one.observe(between)
    assert not one.settled
    assert one.state.live  # one poll decides nothing
    one.observe(Poll(live=True))
    assert (one.state.live, one.settled) == (False, False)
    one.observe(Poll(live=True))
    assert not one.state.live
    one.observe(Poll(live=True, models=GONE))
    assert (one.state.live, one.state.models, one.settled) == (True, GONE, True)


def test_a_renewed_connection_with_an_index_is_as_good() -> None:
    one = inventory()
    lives(one, GOOD, Poll(live=True, models=GONE, renewed=True))
    assert (one.state.live, one.state.models, one.settled) == (True, GONE, True)


def test_a_server_that_says_that_it_goes_is_out_at_once() -> None:
    one = inventory(failures=5)
    assert lives(one, GOOD, Poll(live=False, reason="Server exiting", told=True)) == [True, False]


def test_settled_is_what_needs_no_close_look() -> None:
    one = inventory(failures=1)
    assert not one.settled
    one.observe(Poll(live=True))
    assert not one.settled  # its models are not known
    for state, settled in (("READY", True), ("LOADING", False), ("UNAVAILABLE", True), ("UNLOADING", False)):
        one.observe(Poll(live=True, models={"m": {"1": ModelVersion(state)}}))
        assert one.settled == settled
        one.observe(Poll(live=True))
        assert one.settled == settled
    one.observe(GOOD)
    one.observe(BAD)
    assert not one.settled


# loads ----------------------------------------------------------------------------------------------------------------


def counting() -> Inventory:
    loads = itertools.count(1)
    return Inventory("gpu-0:8001", Readiness(failures=1), lambda: next(loads))


def load(one: Inventory, version: str = "1") -> int:
    return one.state.models["m"][version].load


def used(*counts: int) -> dict[tuple[str, str], tuple[int, ...]]:
    return {("m", "1"): counts}


def test_a_load_keeps_its_number_until_there_is_another() -> None:
    one = counting()
    numbers = []
    for models in (READY, READY, GONE, READY, {"m": {}}, READY, READY):
        one.observe(Poll(live=True, models=models))
        numbers.append(load(one) if models is READY else 0)
    assert numbers == [1, 1, 0, 2, 0, 3, 3]
    assert one.state.models["m"]["1"].state == "READY"


def test_each_version_has_loads_of_its_own() -> None:
    one = counting()
    one.observe(GOOD)
    both = {"m": {"1": ModelVersion("READY"), "2": ModelVersion("READY")}}
    assert one.observe(Poll(live=True, models=both))
    assert [load(one, "1"), load(one, "2")] == [1, 2]


def test_a_reload_that_no_index_shows() -> None:
    one = counting()
    one.observe(GOOD)
    one.reloaded("other")
    assert not one.observe(GOOD)
    one.reloaded("m")
    assert one.observe(GOOD), "the workers are told"
    assert not one.observe(GOOD)
    assert load(one) == 2


def test_counts_that_begin_anew_are_of_another_load() -> None:
    one = counting()
    numbers = []
    for counts in ((0, 0), (5, 900), (5, 900), (7, 1000), (7, 10), (8, 20), (0, 0), (0, 0)):
        one.observe(Poll(live=True, models=READY, used=used(*counts)))
        numbers.append(load(one))
    assert numbers == [1, 1, 1, 1, 2, 2, 3, 3]


def test_a_server_that_was_away_is_another_process_unless_its_counts_go_on() -> None:
    one = counting()
    one.observe(Poll(live=True, models=READY, used=used(5, 900)))
    one.observe(BAD)
    one.observe(Poll(live=True, models=READY, used=used(6, 950)))
    assert load(one) == 1
    one.observe(BAD)
    one.observe(GOOD)  # it does not count
    assert load(one) == 2
    one.observe(GOOD)
    assert load(one) == 2


def test_another_reason_is_no_other_load() -> None:
    one = counting()
    one.observe(GOOD)
    one.observe(Poll(live=True, models={"m": {"1": ModelVersion("READY", "slow")}}))
    assert (load(one), one.state.models["m"]["1"].reason) == (1, "slow")


def test_numbers_of_loads_are_never_the_same() -> None:
    assert len({new_load() for _ in range(3) if time.sleep(0.001) is None}) == 3
