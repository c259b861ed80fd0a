"""From polls to state, without a clock."""

from __future__ import annotations

import pytest

from config.schema import Readiness
from gateway.control.inventory import Inventory, Poll
from gateway.world import ModelVersion

READY = {"m": {"1": ModelVersion("READY")}}
GONE = {"m": {"1": ModelVersion("UNAVAILABLE", "unloaded")}}
GOOD = Poll(live=True, models=READY)
BAD = Poll(live=False, reason="refused")


def inventory(failures: int = 2, successes: int = 1) -> Inventory:
    return Inventory("gpu-0:8001", Readiness(failures=failures, successes=successes))


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
