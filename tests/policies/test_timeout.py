"""A timeout brings the deadline closer, never further away."""

from __future__ import annotations

import asyncio

import pytest

from policies.timeout import Policy, Spec
from routing.call import Call, Reply
from tests.support.clock import Clock
from tests.support.policies import some_services
from tests.support.pools import OK, a_call


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
