"""Who is refused, what it is told, and what holds without the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from policies import Siblings
from policies.rate_limit import Allowance, Policy, Spec
from routing.call import Call, Handler, Reply
from routing.identity import Identity
from routing.refusals import QUOTA_EXCEEDED
from state import StateError
from tests.support.clock import Clock
from tests.support.plain_state import PlainState
from tests.support.policies import Counts, some_services
from tests.support.pools import OK, a_call
from tests.support.valkey import Valkey
from transcoding.status import Code, Fault, GatewayError, invalid


async def answer(call: Call) -> Reply:
    return Reply(OK)


class Fixture:
    """A policy that counts locally, by a clock."""

    def __init__(self, spec: Spec, state: Any = None) -> None:
        self.clock, self.counts = Clock(), Counts()
        services = some_services(
            self.counts, self.clock, siblings=Siblings(clock=self.clock), name="per_user", state=state
        )
        self.policy = Policy(spec, services)

    def ask(self, principal: str = "alice", call: Call | None = None, next: Handler = answer, **more: Any) -> Call:
        call = call or a_call()
        call.caller = Identity(principal, **more)
        asyncio.run(self._run(call, next))
        return call

    def refused(self, principal: str = "alice", **more: Any) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            self.ask(principal, **more)
        return caught.value

    async def _run(self, call: Call, next: Handler) -> None:
        await self.policy(call, next)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)


LOCAL = Spec(rate="10/s", burst=3, mode="local")


def test_each_principal_has_its_own_limit_and_it_refills() -> None:
    world = Fixture(LOCAL)
    for _ in range(3):
        world.ask()
    assert world.refused().http_status == 429
    world.ask("bob")
    world.clock.now += 0.1
    world.ask()
    assert world.refused().code is Code.RESOURCE_EXHAUSTED
    assert world.counts.all() == {("penstock_rate_limit_total", "per_user", "refused"): 2}


def test_answers_tell_what_is_left_and_refusals_when_to_come_back() -> None:
    world = Fixture(LOCAL)
    assert world.ask().told == [(b"ratelimit-policy", b'"per_user";q=10;w=1'), (b"ratelimit", b'"per_user";r=2;t=1')]
    world.ask()
    assert world.ask().told == [(b"ratelimit-policy", b'"per_user";q=10;w=1'), (b"ratelimit", b'"per_user";r=0;t=1')]
    error = world.refused()
    assert error.message == "rate limit 'per_user' of 10/s is used up; try again in 0.1 s"
    assert dict(error.fields)[b"ratelimit"] == b'"per_user";r=0;t=1'
    assert error.retry_after == 1.0
    assert error.problem == {"type": QUOTA_EXCEEDED, "violated-policies": ["per_user"]}
    assert b"google.rpc.RetryInfo" in error.details
    assert error.fault is Fault.CLIENT
    assert not error.executed


def test_several_windows_hold_together_and_the_refusal_names_the_one() -> None:
    world = Fixture(Spec(windows=(Allowance("10/s", 2), Allowance("3/h")), mode="local"))
    for _ in range(3):
        world.ask()
        world.clock.now += 1
    error = world.refused()
    assert error.problem is not None
    assert error.problem["violated-policies"] == ["per_user-h"]
    assert error.retry_after is not None
    assert 1190 < error.retry_after <= 1200


def test_a_key_may_bring_a_limit_of_its_own() -> None:
    world = Fixture(LOCAL)
    for _ in range(6):
        world.ask("vip", limits={"per_user": "10/s burst 6", "other": "1/d"})
    assert world.refused("vip", limits={"per_user": "10/s burst 6"}).http_status == 429
    for _ in range(3):
        world.ask("odd", limits={"per_user": "very fast"})  # as if it brought none
    assert world.refused("odd", limits={"per_user": "very fast"}).http_status == 429


def test_in_its_shadow_nothing_is_refused_or_told() -> None:
    world = Fixture(Spec(rate="10/s", burst=3, mode="local", shadow=True))
    assert [world.ask().told for _ in range(5)] == [None] * 5
    assert world.counts["penstock_rate_limit_total", "per_user", "shadow"] == 2


def test_answers_need_not_tell() -> None:
    world = Fixture(Spec(rate="10/s", burst=1, mode="local", headers=False))
    assert world.ask().told is None
    assert world.refused().fields == ()


def test_what_never_fits_is_told_so() -> None:
    world = Fixture(Spec(rate="4/s", unit="bytes", mode="local"))
    call = a_call()
    call.message = (bytes(5), bytes(100))
    error = world.refused(call=call)
    assert error.message == "rate limit 'per_user' of 4/s never allows 100 bytes at once"
    assert error.retry_after is None


class Stream:
    """An answer of several messages."""

    def __init__(self) -> None:
        self.answers = 0
        self.ends: list[Callable[[], None]] = []

    def at_end(self, done: Callable[[], None]) -> None:
        self.ends.append(done)


def test_tokens_are_reserved_and_settled_when_the_stream_is_over() -> None:
    world = Fixture(Spec(rate="1/h", burst=100, unit="tokens", estimate=60, mode="local"))

    async def streams(call: Call) -> Reply:
        call.exchange = Stream()
        return Reply(b"")

    first = world.ask(next=streams)
    assert world.refused().http_status == 429
    stream = first.exchange
    assert isinstance(stream, Stream)
    stream.answers = 10
    asyncio.run(ends(stream))
    world.ask(next=streams)  # 90 were left
    assert world.refused().http_status == 429


async def ends(stream: Stream) -> None:
    for done in stream.ends:
        done()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)


@pytest.mark.parametrize(("executed", "left"), [(False, True), (True, False)])
def test_tokens_of_what_never_ran_are_given_back(executed: bool, left: bool) -> None:
    world = Fixture(Spec(rate="1/h", burst=100, unit="tokens", estimate=60, mode="local"))

    async def fails(call: Call) -> Reply:
        raise GatewayError(Code.UNAVAILABLE, "no", executed=executed)

    with pytest.raises(GatewayError, match="no"):
        world.ask(next=fails)
    if left:
        world.ask()
    else:
        assert world.refused().http_status == 429


class Away:
    """A store that is not there."""

    up = False

    def key(self, *parts: str) -> str:
        return ":".join(parts)

    def script(self, name: str, source: str) -> Callable[..., Awaitable[Any]]:
        async def run(*_: object) -> Any:
            raise StateError("away")

        return run


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_without_the_store_it_counts_locally_lets_all_through_or_nothing(mode: Any) -> None:
    world = Fixture(Spec(rate="10/s", burst=3, mode=mode, on_error="local"), Away())
    for _ in range(3):
        world.ask()
    assert world.refused().http_status == 429
    world = Fixture(Spec(rate="10/s", burst=3, mode=mode, on_error="open"), Away())
    for _ in range(10):
        assert world.ask().told is None
    assert world.counts.all() == {("penstock_rate_limit_total", "per_user", "open"): 10}
    world = Fixture(Spec(rate="10/s", burst=3, mode=mode, on_error="closed"), Away())
    error = world.refused()
    assert (error.http_status, error.code, error.retry_after) == (503, Code.UNAVAILABLE, 1.0)


@pytest.mark.parametrize("mode", ["exact", "leased"])
def test_two_gateways_have_one_limit(mode: Any, valkey: Valkey) -> None:
    async def run() -> None:
        async with PlainState(valkey.socket) as state:
            policies = [Policy(Spec(rate="5/h", mode=mode), some_services(state=state, name="n")) for _ in range(2)]
            for number in range(5):
                await policies[number % 2](a_call(), answer)
            for policy in policies:
                with pytest.raises(GatewayError, match="used up"):
                    await policy(a_call(), answer)
            assert await state.do("KEYS", "*") == [b"t:limit:n:principal="]

    asyncio.run(run())


def test_it_says_what_it_needs() -> None:
    policy = Policy(Spec(rate="1/s", by=("address", "pool"), unit="items"), some_services())
    assert (policy.guards, policy.needs_view, policy.needs_pool, policy.needs_body) == (True,) * 4
    policy = Policy(Spec(rate="1/s"), some_services())
    assert (policy.guards, policy.needs_view, policy.needs_pool, policy.needs_body) == (True, False, False, False)


def test_a_mistake_of_the_client_passes() -> None:
    async def wrong(call: Call) -> Reply:
        raise invalid("wrong")

    with pytest.raises(GatewayError, match="wrong"):
        Fixture(LOCAL).ask(next=wrong)
