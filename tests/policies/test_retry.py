"""What is sent again, where, how often and when."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from policies.retry import LONGEST_WAIT, Policy, Spec, may_repeat
from routing.budget import TAU
from routing.call import Call, Reply
from routing.connectors.outcome import Expired, broken, from_status
from routing.pool import BUSY_MINIMUM, BUSY_SHARE, MAX_ATTEMPTS, Pool
from tests.support.clock import Clock
from tests.support.policies import Counts, a_stream, some_services
from tests.support.pools import OK, ScriptedChannel, a_call, a_pool, an_endpoint
from transcoding.status import Code, Fault, GatewayError, invalid

READY = {"m": {"1": "READY"}}
BOOM = from_status(13, "boom")
FULL = from_status(14, "Exceeds maximum queue size")
DIED = broken("a:1", 2, executed=True)


class Fixture:
    """A policy around a pool whose endpoints answer from scripts."""

    def __init__(self, *scripts: tuple[GatewayError | bytes, ...], spec: Spec | None = None) -> None:
        self.clock, self.counts = Clock(), Counts()
        self.channels = [ScriptedChannel(*script) for script in scripts]
        self.pool: Pool = a_pool(
            [an_endpoint(f"h{number}:1", READY, channel) for number, channel in enumerate(self.channels)],
            "first",
            clock=self.clock,
        )
        self.policy = Policy(spec or Spec(idempotent=True), some_services(self.counts, self.clock))

    def ask(self, call: Call | None = None) -> Reply:
        return asyncio.run(self.policy(call or a_call(), self.pool.forward))

    @property
    def sent(self) -> list[int]:
        return [len(channel.calls) for channel in self.channels]


@pytest.mark.parametrize("error", [BOOM, DIED, from_status(14, "unhealthy")], ids=repr)
def test_what_failed_at_one_endpoint_is_answered_by_another(error: GatewayError) -> None:
    world, call = Fixture((error,), (OK,)), a_call()
    assert bytes(world.ask(call).framed) == OK
    assert world.sent == [1, 1]
    assert call.attempts == 2
    assert world.counts[("penstock_retries_total", "", error.fault.name.lower())] == 1


@pytest.mark.parametrize("error", [BOOM, DIED], ids=repr)
def test_what_may_have_run_is_not_sent_again_unless_that_does_no_harm(error: GatewayError) -> None:
    for spec, sequence in ((Spec(), ""), (Spec(idempotent=True), "7")):
        world = Fixture((error,), (error,), spec=spec)
        with pytest.raises(GatewayError) as caught:
            world.ask(a_call(sequence=sequence))
        assert error in (caught.value, caught.value.__cause__)  # a sequence is told by name that it is lost
        assert sum(world.sent) == 1


OURS = GatewayError(Code.INTERNAL, "ours", fault=Fault.GATEWAY)


@pytest.mark.parametrize(
    "error", [invalid("wrong"), from_status(3, "shape"), from_status(12, "decoupled"), Expired(9.0), OURS], ids=repr
)
def test_what_would_fail_again_is_not_sent_again(error: GatewayError) -> None:
    world = Fixture((error,), (OK,))
    with pytest.raises(GatewayError) as caught:
        world.ask()
    assert caught.value is error
    assert world.sent == [1, 0]


def test_the_route_may_say_by_itself_that_it_is_idempotent() -> None:
    call = a_call()
    assert not may_repeat(call, BOOM)
    call.idempotent = True
    assert may_repeat(call, BOOM)


def test_an_error_of_the_only_endpoint_is_the_answer() -> None:
    world = Fixture((BOOM,))
    with pytest.raises(GatewayError, match="boom"):
        world.ask()
    assert world.sent == [1]
    assert world.counts.all() == {}


def test_the_only_endpoint_may_have_the_call_again_if_it_went_away() -> None:
    world = Fixture((DIED, OK))
    assert bytes(world.ask().framed) == OK


def test_a_request_during_which_two_endpoints_died_is_not_given_to_a_third() -> None:
    world = Fixture(*[(DIED,)] * 4, spec=Spec(attempts=5, idempotent=True))
    with pytest.raises(GatewayError, match="broke off"):
        world.ask()
    assert world.sent == [1, 1, 0, 0]


def test_attempts_are_bounded_and_the_waits_double_with_jitter() -> None:
    spec = Spec(attempts=6, idempotent=True, backoff=0.1, max_backoff=0.5)
    world = Fixture(*[(BOOM,)] * 8, spec=spec)
    with pytest.raises(GatewayError, match="boom"):
        world.ask()
    assert sum(world.sent) == 6
    bounds = [0.1, 0.2, 0.4, 0.5, 0.5]
    assert all(0 <= wait <= bound for wait, bound in zip(world.clock.slept, bounds, strict=True))
    assert len(set(world.clock.slept)) == 5


def test_what_never_ran_is_asked_for_again_until_it_can_be_answered() -> None:
    loading = an_endpoint("a:1", {"m": {"1": "LOADING"}})
    world = Fixture(spec=Spec(attempts=3))
    world.pool.set_endpoints([loading])

    async def loads(seconds: float) -> None:
        world.clock.slept.append(seconds)
        if len(world.clock.slept) == 2:
            world.pool.set_endpoints([an_endpoint("a:1", READY)])

    world.policy._sleep = loads
    assert bytes(world.ask().framed) == OK
    assert world.clock.slept == [1.0, 1.0]  # which is what the answer asked for


def test_no_wait_goes_past_the_deadline() -> None:
    world = Fixture((FULL,), (OK,))
    world.pool.set_endpoints(world.pool.endpoints[:1])
    call = a_call()
    call.deadline = world.clock() + 0.9
    with pytest.raises(GatewayError, match="queue"):
        world.ask(call)
    assert world.clock.slept == []
    call = a_call()
    call.deadline = world.clock() + 1.1
    with pytest.raises(GatewayError, match="queue"):
        world.ask(call)
    assert world.clock.slept == [1.0]


def test_nobody_is_kept_waiting_for_long() -> None:
    slow = GatewayError(Code.UNAVAILABLE, "loading", fault=Fault.WORKER, retry_after=LONGEST_WAIT + 1)
    world = Fixture((slow,))
    with pytest.raises(GatewayError, match="loading"):
        world.ask()
    assert world.clock.slept == []


def test_the_budget_holds_when_everything_fails() -> None:
    spec = Spec(attempts=3, idempotent=True, min_per_second=1.0)
    world, requests = Fixture((BOOM,), (BOOM,), (BOOM,), spec=spec), 2000
    start = world.clock.now
    for _ in range(requests):
        world.clock.now += 0.01
        with pytest.raises(GatewayError, match="boom"):
            world.ask()
    extra = sum(world.sent) - requests
    assert 0.18 * requests < extra <= 0.2 * requests + 1.0 * (world.clock.now - start + TAU)
    refused = world.counts[("penstock_retries_refused_total", "")]
    assert world.counts[("penstock_retries_total", "", "model")] == extra
    assert refused > 0.5 * requests


def test_full_queues_are_not_stormed_by_both_kinds_of_retries_together() -> None:
    world, requests = Fixture((FULL,), (FULL,), spec=Spec(attempts=2, min_per_second=0.0)), 1000
    start = world.clock.now
    for _ in range(requests):
        world.clock.now += 0.01
        with pytest.raises(GatewayError, match="queue"):
            world.ask()
    most = (1 + 0.2) * requests * (1 + BUSY_SHARE) + BUSY_MINIMUM * (world.clock.now - start + TAU)
    assert sum(world.sent) <= most < requests * MAX_ATTEMPTS * 2


def test_a_client_that_goes_away_while_it_waits_ends_the_call() -> None:
    async def run() -> bool:
        world = Fixture((BOOM,), (OK,))
        world.policy._sleep = asyncio.sleep
        world.policy._random = lambda: 40.0  # a second
        task = asyncio.ensure_future(world.policy(a_call(), world.pool.forward))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled() and world.sent == [1, 0]

    assert asyncio.run(run())


def ask_stream(world: Fixture, *, spent: bool = False, first_by: float | None = None) -> Call:
    async def main() -> Call:
        call = a_stream()
        assert call.exchange is not None
        call.exchange.spent, call.exchange.limits.first_by = spent, first_by
        await world.policy(call, world.pool.forward)
        return call

    return asyncio.run(main())


@pytest.mark.parametrize(("error", "idempotent"), [(DIED, True), (BOOM, True), (FULL, False)], ids=repr)
def test_the_beginning_of_a_stream_is_tried_again_as_a_call_is(error: GatewayError, idempotent: bool) -> None:
    world = Fixture((error,), (OK,), spec=Spec(idempotent=idempotent))
    assert ask_stream(world).attempts == 2
    assert world.sent == [1, 1]


def test_a_stream_of_which_the_client_heard_something_is_not() -> None:
    world = Fixture((FULL,), (OK,))
    with pytest.raises(GatewayError):
        ask_stream(world, spent=True)
    assert world.sent == [1, 0]
    assert world.clock.now == 1000.0


def test_no_wait_is_longer_than_what_is_left_for_the_first_message() -> None:
    slow = Spec(idempotent=True, backoff=60.0, max_backoff=60.0)
    world = Fixture((BOOM,), (OK,), spec=slow)
    with pytest.raises(GatewayError, match="boom"):
        ask_stream(world, first_by=1000.0 + 1e-9)
    assert (world.sent, world.clock.now) == ([1, 0], 1000.0)


@pytest.mark.parametrize(("left", "sent"), [(0.0, [1, 0]), (-1.0, [1, 0]), (10.0, [1, 1])])
def test_nothing_is_sent_again_past_the_deadline(left: float, sent: list[int]) -> None:
    world, call = Fixture((BOOM,), (OK,)), a_call()
    call.deadline = world.clock.now + left
    with contextlib.suppress(GatewayError):
        world.ask(call)
    assert world.sent == sent
