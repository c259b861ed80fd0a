"""One asks for all; when it goes away exactly one takes over; nobody waits longer than he has time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from state.flight import LATE, LEAD, Flights, Turn

Asked = Flights[str, int]


def run(scenario: Callable[[Asked], Awaitable[None]]) -> None:
    async def with_flights() -> None:
        flights: Asked = Flights()
        await scenario(flights)
        assert len(flights) == 0

    asyncio.run(with_flights())


async def waiting(flights: Asked, count: int, deadline: float | None = None) -> list[asyncio.Task[int | Turn]]:
    tasks = [asyncio.ensure_future(flights.wait("k", deadline)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_one_leads_and_all_have_the_answer() -> None:
    async def scenario(flights: Asked) -> None:
        assert flights.lead("k")
        assert not flights.lead("k")
        assert flights.lead("other")
        assert not flights.waited("k")
        tasks = await waiting(flights, 500)
        assert flights.waited("k")
        flights.land("k", 7)
        flights.land("other", 8)
        assert await asyncio.gather(*tasks) == [7] * 500
        assert "k" not in flights

    run(scenario)


def test_a_leader_that_goes_hands_over_to_exactly_one() -> None:
    async def scenario(flights: Asked) -> None:
        flights.lead("k")
        tasks = await waiting(flights, 3)
        assert flights.hand_over("k")
        await asyncio.sleep(0)
        assert [task.done() for task in tasks] == [True, False, False]
        assert tasks[0].result() is LEAD
        flights.land("k", 7)
        assert [await task for task in tasks[1:]] == [7, 7]

    run(scenario)


def test_who_went_meanwhile_is_passed_over() -> None:
    async def scenario(flights: Asked) -> None:
        flights.lead("k")
        tasks = await waiting(flights, 3)
        tasks[0].cancel()
        await asyncio.sleep(0)
        assert flights.hand_over("k")
        await asyncio.sleep(0)
        assert tasks[1].result() is LEAD
        tasks[2].cancel()
        await asyncio.sleep(0)
        assert not flights.hand_over("k")
        assert flights.lead("k")
        assert not flights.hand_over("k")

    run(scenario)


def test_one_that_is_cancelled_just_when_it_is_to_lead_hands_on() -> None:
    async def scenario(flights: Asked) -> None:
        flights.lead("k")
        tasks = await waiting(flights, 2)
        flights.hand_over("k")
        tasks[0].cancel()  # before it could run
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]
        assert tasks[0].cancelled()
        assert await tasks[1] is LEAD
        assert not flights.hand_over("k")

    run(scenario)


def test_each_waits_until_its_own_deadline() -> None:
    async def scenario(flights: Asked) -> None:
        flights.lead("k")
        now = asyncio.get_running_loop().time()
        (short,), (long,) = await waiting(flights, 1, now + 0.02), await waiting(flights, 1, now + 60)
        started = time.monotonic()
        assert await short is LATE
        assert time.monotonic() - started < 5
        flights.land("k", 7)
        assert await long == 7

    run(scenario)
