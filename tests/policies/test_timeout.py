"""A timeout brings the deadline closer, never further away, and its error says that it was one."""

from __future__ import annotations

import asyncio

import pytest

from config.load import parse
from config.problems import ConfigError
from policies import registry
from policies.timeout import Policy, Spec
from routing.call import Call, Reply
from routing.connectors.outcome import Expired
from tests.support.clock import Clock
from tests.support.configurations import text_with
from tests.support.policies import a_stream, some_services
from tests.support.pools import OK, a_call
from transcoding.status import GatewayError


@pytest.mark.parametrize(("before", "after"), [(None, 1002.0), (1001.0, 1001.0), (1005.0, 1002.0)])
def test_the_earliest_deadline_holds(before: float | None, after: float) -> None:
    seen = []

    async def handler(call: Call) -> Reply:
        seen.append(call.deadline)
        return Reply(OK)

    call = a_call()
    call.deadline = before
    asyncio.run(Policy(Spec(2.0), some_services(clock=Clock()))(call, handler))
    assert seen == [after]


def test_time_that_was_used_further_out_is_gone() -> None:
    clock, seen = Clock(), []

    async def handler(call: Call) -> Reply:
        seen.append(call.deadline)
        return Reply(OK)

    async def run() -> None:
        call, policy = a_call(), Policy(Spec(2.0), some_services(clock=clock))
        await policy(call, handler)
        clock.now += 1.5
        await policy(call, handler)

    asyncio.run(run())
    assert seen == [1002.0, 1002.0]


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (None, "deadline exceeded: the answer was not complete in 2 s (timeout.total)"),
        (1001.0, "deadline exceeded"),
    ],
    ids=["the policy's", "the client's"],
)
def test_the_error_says_whose_time_it_was(before: float | None, message: str) -> None:
    async def late(call: Call) -> Reply:
        raise Expired(1.0)

    call = a_call()
    call.deadline = before
    with pytest.raises(GatewayError) as caught:
        asyncio.run(Policy(Spec(2.0), some_services(clock=Clock()))(call, late))
    assert caught.value.message == message


def test_the_innermost_of_two_is_named() -> None:
    async def late(call: Call) -> Reply:
        raise Expired(1.0)

    async def run() -> None:
        outer, inner = (Policy(Spec(seconds), some_services(clock=Clock())) for seconds in (5.0, 2.0))
        await outer(a_call(), lambda call: inner(call, late))

    with pytest.raises(GatewayError, match="in 2 s"):
        asyncio.run(run())


def test_a_stream_is_told_its_limits_and_other_calls_have_only_the_whole() -> None:
    seen: list[tuple[float | None, float | None]] = []

    async def handler(call: Call) -> Reply:
        seen.append((call.deadline, call.due))
        return Reply(OK)

    async def run() -> None:
        policy = Policy(Spec(9.0, first_byte=2.0, idle=1.0), some_services(clock=Clock()))
        await policy(a_call(), handler)
        call = a_stream()
        await policy(call, handler)
        assert call.exchange is not None
        limits = call.exchange.limits
        assert (limits.first_by, limits.idle, limits.total, limits.total_by) == (1002.0, 1.0, 9.0, 1009.0)

    asyncio.run(run())
    assert seen == [(1009.0, 1009.0), (1009.0, 1002.0)]


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ("", ["expected at least one of total, first_byte and idle, got none"]),
        (", total: 2s", []),
        (", idle: 30s", []),
        (", first_byte: 0s", ["expected"]),
    ],
)
def test_at_least_one_of_them_is_given(options: str, problems: list[str]) -> None:
    text = text_with(routes=f'[{{match: {{model: "*"}}, to: main, policies: [{{kind: timeout{options}}}]}}]')
    try:
        parse(text, "test.yaml", policies=registry())
        found = []
    except ConfigError as error:
        found = [str(problem) for problem in error.problems]
    assert len(found) == len(problems)
    assert all(text in each for text, each in zip(problems, found, strict=True))
