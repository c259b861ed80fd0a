"""How long a stream may take until its first message, between two, and in all; and which of these it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from routing.connectors.outcome import Expired
from routing.limits import StreamLimits, name_total
from transcoding.status import Code, GatewayError

Use = Callable[[StreamLimits, list[Expired]], Awaitable[None]]


def run(use: Use) -> list[str]:
    """What was told, in a loop whose limits are as `use` sets them."""

    async def main() -> list[str]:
        told: list[Expired] = []
        limits = StreamLimits(asyncio.get_running_loop())
        async with asyncio.timeout(5):
            await use(limits, told)
        limits.end()
        return [error.message for error in told]

    return asyncio.run(main())


async def wait_for(told: list[Expired]) -> None:
    while not told:
        await asyncio.sleep(0.005)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_first_message() -> None:
    async def use(limits: StreamLimits, told: list[Expired]) -> None:
        limits.within(now(), 0.03, None)
        limits.begin(now() + 5, told.append)
        await wait_for(told)
        await asyncio.sleep(0.05)

    assert run(use) == ["deadline exceeded: no message of an answer in 0.03 s (timeout.first_byte)"]


def test_after_the_first_message_only_the_next_matter() -> None:
    async def use(limits: StreamLimits, told: list[Expired]) -> None:
        limits.within(now(), 0.03, 0.1)
        limits.begin(None, told.append)
        for _ in range(12):
            limits.heard()
            await asyncio.sleep(0.02)
        assert not told
        await wait_for(told)

    assert run(use) == ["deadline exceeded: no further message of the answer for 0.1 s (timeout.idle)"]


def test_a_client_that_does_not_read_has_time_of_its_own() -> None:
    async def use(limits: StreamLimits, told: list[Expired]) -> None:
        limits.within(now(), None, 0.03)
        limits.begin(None, told.append)
        limits.heard()
        limits.paused(True)
        await asyncio.sleep(0.15)
        assert not told
        limits.paused(False)
        await wait_for(told)

    assert len(run(use)) == 1


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (True, "deadline exceeded: the answer was not complete in 0.05 s (timeout.total)"),
        (False, "deadline exceeded"),
    ],
)
def test_the_whole_answer_by_the_time_of_a_policy_or_the_clients(policy: bool, text: str) -> None:
    async def use(limits: StreamLimits, told: list[Expired]) -> None:
        due = now() + 0.05
        if policy:
            limits.total, limits.total_by = 0.05, due
        limits.begin(due, told.append)
        while not told:
            limits.heard()
            await asyncio.sleep(0.01)

    assert run(use) == [text]


def test_the_least_holds_of_what_several_policies_allow() -> None:
    async def use(limits: StreamLimits, told: list[Expired]) -> None:
        limits.within(10.0, 5.0, 1.0)
        limits.within(11.0, 2.0, 3.0)
        assert (limits.first_by, limits.first_byte, limits.idle) == (13.0, 2.0, 1.0)
        limits.within(12.0, 2.0, None)
        assert limits.first_by == 13.0
        assert [limits.first_due(each) for each in (None, 12.0, 14.0)] == [13.0, 12.0, 13.0]

    run(use)


def test_without_limits_there_is_no_timer_and_what_ended_tells_nothing() -> None:
    async def use(limits: StreamLimits, told: list[Expired]) -> None:
        limits.begin(None, told.append)
        limits.heard()
        limits.within(now(), 0.01, None)
        limits.begin(None, told.append)
        limits.end()
        await asyncio.sleep(0.03)

    assert run(use) == []


def test_a_silence_is_how_long_the_endpoint_said_nothing() -> None:
    granted = []

    async def use(limits: StreamLimits, told: list[Expired]) -> None:
        limits.begin(now() + 0.1, told.append)
        await asyncio.sleep(0.07)
        limits.idle = 5.0
        limits.heard()
        await wait_for(told)
        granted.append(told[0].granted)

    run(use)
    assert granted[0] < 0.07


def test_only_a_deadline_that_says_nothing_is_named() -> None:
    errors = [Expired(1.0), GatewayError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"), GatewayError(Code.INTERNAL, "x")]
    for error in errors:
        name_total(error, 1.5)
    named = "deadline exceeded: the answer was not complete in 1.5 s (timeout.total)"
    assert [error.message for error in errors] == [named, named, "x"]
