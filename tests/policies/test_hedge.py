"""When a second request is sent, which answer counts, and that nothing of the other one stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from policies.hedge import LEAST_CALLS, Policy, Spec
from routing.call import Call, Reply
from routing.connectors.outcome import broken, from_status
from routing.pool import Pool
from tests.support.policies import Counts, a_stream, some_services
from tests.support.pools import OK, a_call, a_pool, an_endpoint
from tests.support.virtual_time import clock, play
from transcoding.status import GatewayError, invalid

READY = {"m": {"1": "READY"}}
FIRST, SECOND = b"\0\0\0\0\1a", b"\0\0\0\0\1b"
FULL = from_status(14, "Exceeds maximum queue size")
HEDGES = "penstock_hedges_total"

Answer = tuple[float, GatewayError | bytes]


class SlowChannel:
    """Answers each call after so many seconds with the next of `answers`, the last one for ever."""

    connected = True

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.calls: list[Call] = []
        self.cancelled = 0

    async def unary(self, call: Call) -> Reply:
        self.calls.append(call)
        seconds, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(answer, GatewayError):
            raise answer
        return Reply(answer, call.endpoint)


class Fixture:
    """A policy around a pool of two, which has seen fast calls only and asks the first endpoint first."""

    def __init__(
        self, first: Answer, second: Answer, *, budget: float = 1.0, seen: int = LEAST_CALLS, pick: str = "first"
    ) -> None:
        self.counts = Counts()
        self.channels = [SlowChannel((0.0, OK), first), SlowChannel((0.0, OK), second)]
        self.pool: Pool = a_pool(
            [an_endpoint(f"h{number}:1", READY, channel) for number, channel in enumerate(self.channels)],  # type: ignore[arg-type]
            pick,
        )
        services = replace(some_services(self.counts, pools={"p": self.pool}), clock=clock)
        self.policy = Policy(Spec(idempotent=True, floor=0.02, budget=budget), services)
        self._seen = seen

    async def warm_up(self) -> None:
        async def fast(call: Call) -> Reply:
            return Reply(OK)

        for _ in range(self._seen):
            await self.policy(a_call(), fast)
        for endpoint in self.pool.endpoints:
            await endpoint.channel.unary(a_call())

    async def ask(self, call: Call | None = None) -> Reply:
        return await self.policy(call or a_call(), self.pool.forward)

    @property
    def sent(self) -> list[int]:
        return [len(channel.calls) - 1 for channel in self.channels]

    @property
    def in_flight(self) -> list[int]:
        return [endpoint.in_flight for endpoint in self.pool.endpoints]


def run(world: Fixture, test: Callable[[], Awaitable[object]] | None = None) -> object:
    async def main() -> object:
        async with asyncio.timeout(10):
            await world.warm_up()
            try:
                return await (test() if test else world.ask())
            finally:
                for _ in range(3):
                    await asyncio.sleep(0)
                assert world.in_flight == [0, 0]

    return play(main())


def framed(reply: object) -> bytes:
    assert isinstance(reply, Reply)
    return bytes(reply.framed)


def test_a_fast_call_is_sent_once() -> None:
    world = Fixture((0.0, FIRST), (0.0, SECOND))
    assert framed(run(world)) == FIRST
    assert world.sent == [1, 0]
    assert world.counts.all() == {}


def test_a_slow_call_is_answered_by_the_other_endpoint_and_cancelled() -> None:
    world, call = Fixture((5.0, FIRST), (0.0, SECOND)), a_call()
    reply = run(world, lambda: world.ask(call))
    assert framed(reply) == SECOND
    assert world.sent == [1, 1]
    assert world.channels[0].cancelled == 1
    assert world.counts.all() == {(HEDGES, "", "won"): 1}
    assert call.endpoint is world.pool.endpoints[1]
    assert call.attempts == 2


def test_the_first_may_still_win_and_the_second_is_cancelled() -> None:
    world = Fixture((0.06, FIRST), (5.0, SECOND))
    assert framed(run(world)) == FIRST
    assert world.channels[1].cancelled == 1
    assert world.counts.all() == {(HEDGES, "", "lost"): 1}


@pytest.mark.parametrize("error", [from_status(13, "boom"), broken("a:1", 2, executed=True), FULL], ids=repr)
def test_an_error_of_the_first_waits_for_the_second(error: GatewayError) -> None:
    world = Fixture((0.05, error), (0.1, SECOND))
    assert framed(run(world)) == SECOND
    assert world.counts.all() == {(HEDGES, "", "won"): 1}


def test_an_error_of_the_second_waits_for_the_first() -> None:
    world = Fixture((0.1, FIRST), (0.0, from_status(13, "boom")))
    assert framed(run(world)) == FIRST
    assert world.counts.all() == {(HEDGES, "", "failed"): 1}


def test_the_clients_mistake_is_the_answer_at_once() -> None:
    world = Fixture((0.05, invalid("wrong")), (5.0, SECOND))
    with pytest.raises(GatewayError, match="wrong"):
        run(world)
    assert world.channels[1].cancelled == 1


def test_when_both_fail_the_one_that_ran_is_told_and_neither_endpoint_is_asked_again() -> None:
    world, call = Fixture((0.05, FULL), (0.1, from_status(13, "boom"))), a_call()
    with pytest.raises(GatewayError, match="boom"):
        run(world, lambda: world.ask(call))
    assert set(call.tried) == set(world.pool.endpoints)


def test_a_client_that_goes_away_ends_both() -> None:
    world = Fixture((5.0, FIRST), (5.0, SECOND))

    async def leave() -> bool:
        task = asyncio.ensure_future(world.ask())
        await asyncio.sleep(0.06)
        assert world.in_flight == [1, 1]
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(world, leave)
    assert [channel.cancelled for channel in world.channels] == [1, 1]


def test_a_client_that_goes_away_as_the_second_wins_is_gone() -> None:
    world = Fixture((5.0, FIRST), (0.0, SECOND))

    async def leave() -> bool:
        task = asyncio.ensure_future(world.ask())
        while not world.channels[1].calls[1:]:
            await asyncio.sleep(0)
        won = task.cancel
        world.policy.count = lambda call, result: None  # type: ignore[method-assign]
        while not task.cancelling():
            await asyncio.sleep(0)
        won()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(world, leave)


def test_what_uses_the_task_afterwards_is_not_cancelled() -> None:
    world = Fixture((5.0, FIRST), (0.0, SECOND))

    async def goes_on() -> int:
        await world.ask()
        await asyncio.sleep(0.01)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert run(world, goes_on) == 0


@pytest.mark.parametrize(
    "why",
    ["not idempotent", "sequence", "stream", "not measured", "budget", "full queues", "all late", "no time left"],
)
def test_nothing_is_sent_twice(why: str) -> None:
    few = LEAST_CALLS - 1 if why == "not measured" else LEAST_CALLS
    world = Fixture((0.1, FIRST), (0.1, FIRST), budget=0.0 if why == "budget" else 1.0, seen=few)
    if why == "not idempotent":
        world.policy._spec = Spec(floor=0.02, budget=1.0)

    async def ask() -> Reply:
        if why == "full queues":
            world.policy.failed(FULL)
        if why == "all late":
            world.policy.late[world.pool.endpoints[1]] += 1
        call = a_stream() if why == "stream" else a_call(sequence="7" if why == "sequence" else "")
        if why == "no time left":  # these channels keep no deadlines
            call.deadline = clock() + 0.01
        return await world.ask(call)

    assert framed(run(world, ask)) == (b"" if why == "stream" else FIRST)
    assert sum(world.sent) == 1
    assert world.counts[(HEDGES, "", "refused")] == (1 if why == "budget" else 0)


def test_the_budget_holds_when_every_call_is_slow() -> None:
    world = Fixture((0.05, FIRST), (0.05, SECOND), budget=0.05)

    async def storm() -> None:
        for _ in range(4):
            await asyncio.gather(*(world.ask() for _ in range(100)))

    run(world, storm)
    assert 400 < sum(world.sent) <= 400 + 0.05 * (400 + LEAST_CALLS)
    assert world.policy.late == {}


def test_when_half_of_everything_is_late_nothing_more_is_sent_twice() -> None:
    world = Fixture((0.1, FIRST), (0.1, SECOND), pick="round_robin")

    async def storm() -> None:
        await asyncio.gather(*(world.ask() for _ in range(100)))

    run(world, storm)
    assert 100 <= sum(world.sent) <= 155


def test_it_cuts_the_tail_of_an_endpoint_that_is_slow_at_times() -> None:
    world = Fixture((0.0, FIRST), (0.0, SECOND))
    world.channels[0].answers = [(1.0 if number % 20 == 5 else 0.001, OK) for number in range(200)]

    async def ask_many() -> float:
        loop, worst = asyncio.get_running_loop(), 0.0
        for _ in range(100):
            started = loop.time()
            await world.ask()
            worst = max(worst, loop.time() - started)
        return worst

    worst = run(world, ask_many)
    assert isinstance(worst, float)
    assert worst < 0.5
    assert world.counts[(HEDGES, "", "won")] >= 3
