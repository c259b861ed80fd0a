"""Whom failures take out, how much of the candidates at most, and how each comes back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.pools import Outliers
from routing.breaker import FORGOTTEN_SECONDS
from routing.call import Call
from routing.connectors.outcome import broken, from_status
from routing.endpoint import Endpoint
from routing.health import MAX_BREAKERS, SWEEP_SECONDS, Health
from tests.support.clock import Clock
from tests.support.pools import OK, a_call, an_endpoint
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError, invalid

BOOM = from_status(13, "boom")
GONE = broken("a:1", 2, executed=True)
FULL = from_status(14, "Exceeds maximum queue size")
SPEC = Outliers(consecutive=3, base=5.0, max=12.0)

Endpoints = tuple[Endpoint, ...]


class Fixture:
    """Endpoints with a `Health`, and a clock to turn."""

    def __init__(self, count: int = 2, spec: Outliers = SPEC) -> None:
        self.clock = Clock()
        self.health = Health("p", spec, self.clock)
        self.endpoints: Endpoints = tuple(an_endpoint(f"h{number}:1") for number in range(count))

    def passable(self, call: Call | None = None) -> Endpoints:
        return self.health.passable(self.endpoints, call or a_call())

    def send(self, endpoint: Endpoint, error: GatewayError | None = None, call: Call | None = None) -> None:
        """One call, as a pool tells of it."""
        call = call or a_call()
        health = self.health
        if health.out:
            health.sent(call, endpoint)
        if error is not None:
            health.failed(call, endpoint, error, self.endpoints)
        elif health.watched:
            health.succeeded(call, endpoint)
        if health.out:
            health.ended(call, endpoint)

    def fail(self, endpoint: Endpoint, error: GatewayError = BOOM, times: int = 3, call: Call | None = None) -> None:
        for _ in range(times):
            self.send(endpoint, error, call)


def test_a_healthy_pool_knows_nothing() -> None:
    world = Fixture()
    for _ in range(100):
        world.send(world.endpoints[0])
    assert (world.health.out, world.health.watched) == (0, 0)


def test_an_endpoint_is_out_for_the_model_that_fails_there_and_for_no_other() -> None:
    world = Fixture()
    bad, good = world.endpoints
    world.fail(bad)
    assert world.health.out == 1
    assert world.passable() == (good,)
    assert world.passable(a_call("other")) == world.endpoints
    assert world.passable(a_call(version="2")) == world.endpoints
    assert not world.health.allowed(bad, "m", "", world.clock())
    assert world.health.allowed(bad, "other", "", world.clock())
    assert world.health.ejections == world.health.ejected == {("h0:1", "m"): 1}


def test_broken_connections_take_an_endpoint_out_for_all_models() -> None:
    world = Fixture()
    world.fail(world.endpoints[0], GONE)
    assert world.passable() == world.passable(a_call("other")) == world.endpoints[1:]
    assert world.health.ejected == {("h0:1", ""): 1}


@pytest.mark.parametrize("error", [invalid("wrong"), FULL, broken("a:1", 7, executed=False)], ids=repr)
def test_what_is_no_fault_of_the_endpoint_never_counts(error: GatewayError) -> None:
    world = Fixture()
    world.fail(world.endpoints[0], error, times=10_000)
    assert (world.health.out, world.health.watched) == (0, 0)


def test_questions_about_a_model_say_nothing_of_its_inferences() -> None:
    world = Fixture()
    world.fail(world.endpoints[0], call=Call(BY_NAME["ModelConfig"], "m", "", (OK,)))
    assert world.health.watched == 0
    world.fail(world.endpoints[0])
    for _ in range(5):
        world.clock.now += 5
        world.send(world.endpoints[0], call=Call(BY_NAME["ModelConfig"], "m", "", (OK,)))
    assert world.health.out == 1


def test_one_call_tries_an_endpoint_whose_time_is_over_and_brings_it_back() -> None:
    world = Fixture()
    bad, good = world.endpoints
    world.fail(bad)
    world.clock.now += 5
    probe = a_call()
    assert world.passable(probe) == (bad,)
    world.health.sent(probe, bad)
    assert world.passable() == (good,)
    world.health.succeeded(probe, bad)
    world.health.ended(probe, bad)
    assert world.health.out == 0
    assert world.health.ejected == {("h0:1", "m"): 0}
    assert world.passable() == world.endpoints


def test_a_probe_that_fails_takes_it_out_for_longer() -> None:
    world = Fixture()
    bad, good = world.endpoints
    world.fail(bad)
    for seconds in (5, 10, 12, 12):
        world.clock.now += seconds - 0.1
        assert world.passable() == (good,)
        world.clock.now += 0.1
        assert world.passable() == (bad,)
        world.send(bad, BOOM)
    assert world.health.ejections == {("h0:1", "m"): 5}
    assert world.health.out == 1


@pytest.mark.parametrize("end", [None, FULL, invalid("wrong")], ids=repr)
def test_a_probe_without_a_verdict_leaves_the_next_call_to_be_it(end: GatewayError | None) -> None:
    world = Fixture()
    bad, good = world.endpoints
    world.fail(bad)
    world.clock.now += 5
    probe = a_call()
    world.health.sent(probe, bad)
    assert world.passable() == (good,)
    if end is not None:
        world.health.failed(probe, bad, end, world.endpoints)
    world.health.ended(probe, bad)  # a client that went away gives no verdict either
    assert world.health.out == 1
    assert world.passable() == (bad,)


def test_what_was_under_way_when_it_opened_changes_nothing() -> None:
    world = Fixture()
    bad, good = world.endpoints
    late = [a_call() for _ in range(50)]
    world.fail(bad)
    for number, call in enumerate(late):
        if number % 2:
            world.health.succeeded(call, bad)
        else:
            world.health.failed(call, bad, BOOM, world.endpoints)
        world.health.ended(call, bad)
    assert world.passable() == (good,)
    assert world.health.ejections == {("h0:1", "m"): 1}


def test_a_call_that_was_there_already_is_not_its_probe() -> None:
    world = Fixture()
    bad, good = world.endpoints
    world.fail(bad)
    world.clock.now += 5
    call = a_call()
    call.tried = (bad,)
    assert world.passable(call) == (good,)
    assert world.passable() == (bad,)


@pytest.mark.parametrize(("count", "share", "most"), [(1, 1.0, 1), (1, 0.5, 0), (2, 0.5, 1), (3, 0.5, 1), (10, 0.3, 3),
                                                      (5, 0.1, 1), (5, 0.0, 0), (4, 1.0, 4)])  # fmt: skip
def test_no_more_than_the_share_is_out(count: int, share: float, most: int) -> None:
    world = Fixture(count, Outliers(consecutive=1, max_ejected=share, panic=0.0))
    for _ in range(3):
        for endpoint in world.endpoints:
            world.fail(endpoint)
        world.clock.now += 1.5
    assert world.health.out == most
    assert len(world.passable()) == count - most


def test_when_almost_none_is_left_failures_are_ignored() -> None:
    world = Fixture(4, Outliers(consecutive=1, max_ejected=1.0, panic=0.3))
    for endpoint in world.endpoints[:2]:
        world.fail(endpoint)
    assert world.passable() == world.endpoints[2:]
    world.fail(world.endpoints[2])
    assert world.passable() == world.endpoints


def test_endpoints_that_are_out_as_a_whole_leave_a_model_its_share() -> None:
    """A model on three of ten endpoints, two of which are out as a whole."""
    world = Fixture(10)
    of_model = world.endpoints[:3]
    for endpoint in of_model[:2]:
        world.fail(endpoint, GONE)
        world.clock.now += 1
    assert world.health.out == 2
    assert world.health.passable(of_model, a_call("rare")) == (of_model[2], of_model[0])


def test_the_wait_is_until_the_first_comes_back() -> None:
    world = Fixture(2, Outliers(consecutive=1, max_ejected=1.0, panic=0.0))
    for endpoint in world.endpoints:
        world.fail(endpoint, times=1)
        world.clock.now += 1
    assert world.passable() == ()
    assert world.health.retry_after(world.endpoints, a_call()) == 3.0


def test_an_endpoint_that_came_back_is_tried_at_once_but_its_models_are_not_forgiven() -> None:
    world = Fixture()
    bad, good = world.endpoints
    world.fail(bad)
    world.health.revived(bad)
    assert world.passable() == (bad,)
    world.send(bad, BOOM)
    assert world.passable() == (good,)
    world = Fixture()
    world.fail(world.endpoints[0], GONE)
    world.health.revived(world.endpoints[0])
    assert (world.health.out, world.passable()) == (0, world.endpoints)


def test_endpoints_that_leave_the_pool_are_forgotten() -> None:
    world = Fixture()
    world.fail(world.endpoints[0])
    world.health.keep(world.endpoints[1:])
    assert (world.health.out, world.health.watched) == (0, 0)
    assert world.health.ejected == {("h0:1", "m"): 0}


def test_what_has_been_good_for_long_is_no_longer_watched() -> None:
    world = Fixture()
    world.fail(world.endpoints[0], times=1)
    assert world.health.watched == 1
    world.clock.now += 20
    world.fail(world.endpoints[1], times=1)
    assert world.health.watched == 1
    world.fail(world.endpoints[1])
    world.clock.now += FORGOTTEN_SECONDS + SWEEP_SECONDS + 5
    world.passable(a_call("other"))
    assert (world.health.out, world.health.watched) == (0, 0)


def test_what_is_remembered_is_bounded() -> None:
    world = Fixture()
    for number in range(MAX_BREAKERS + 10):
        world.fail(world.endpoints[0], times=1, call=a_call(f"m{number}"))
    assert world.health.watched == MAX_BREAKERS


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["good", "boom", "gone", "cancelled", "full"]),
        st.integers(0, 9),
        st.floats(0, 4),
        st.booleans(),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(1, 10), st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.sampled_from(["m", "n"]))
def test_whatever_happens_the_share_holds_and_the_healthy_return(
    events: list[tuple[str, int, float, bool]], count: int, share: float, model: str
) -> None:
    spec = Outliers(consecutive=2, base=1.0, max=4.0, max_ejected=share, panic=0.0)
    world = Fixture(count, spec)
    ends = {"good": None, "boom": BOOM, "gone": GONE, "full": FULL}
    for end, number, seconds, other in events:
        world.clock.now += seconds
        call = a_call("m" if other else "n")
        chosen = world.passable(call)
        due = [endpoint for endpoint in world.endpoints if is_due(world, endpoint, call)]
        assert len(chosen) >= count - world.health.most_out(count) or chosen == (due[0],)
        endpoint = chosen[number % len(chosen)]
        if end == "cancelled":
            if world.health.out:
                world.health.sent(call, endpoint)
                world.health.ended(call, endpoint)
        else:
            world.send(endpoint, ends[end], call)
        for name in ("m", "n"):
            assert open_for(world, a_call(name)) <= max(world.health.most_out(count), wide_and_own(world, name))
    all_return(world, model)


def is_due(world: Fixture, endpoint: Endpoint, call: Call) -> bool:
    opened = [each for each in world.health._of(endpoint, (call.model, call.version)) if each.open]
    return bool(opened) and all(each.due(world.clock()) for each in opened)


def open_for(world: Fixture, call: Call) -> int:
    key = (call.model, call.version)
    return sum(any(each.open for each in world.health._of(endpoint, key)) for endpoint in world.endpoints)


def wide_and_own(world: Fixture, name: str) -> int:
    """Both kinds keep the share alone; together they may exceed it, which `passable` makes good."""
    own = sum(each.open for each in world.health._breakers.values() if each.key == (name, ""))
    wide = sum(each.open for each in world.health._breakers.values() if each.key == ("", ""))
    assert own <= world.health.most_out(len(world.endpoints))
    assert wide <= world.health.most_out(len(world.endpoints))
    return own + wide


def all_return(world: Fixture, model: str) -> None:
    """From now on every call is answered well: all are chosen from again, before long."""
    rng = random.Random(1)
    for _ in range(400):
        world.clock.now += 0.1
        world.send(rng.choice(world.passable(a_call(model))), call=a_call(model))
    assert set(world.passable(a_call(model))) == set(world.endpoints)
    assert open_for(world, a_call(model)) == 0
