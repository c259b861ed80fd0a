"""Who runs, who waits, who goes, what it is told; and that after any storm nothing is held."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from policies import Siblings
from policies.concurrency import ALL_KEYS, Adaptive, Class, Limit, Policy, Queue, Spec
from routing.call import Call, Reply
from routing.identity import Identity
from routing.match import View
from routing.refusals import QUOTA_EXCEEDED, REDUCED_CAPACITY
from tests.support.policies import Counts, some_services
from tests.support.pools import OK, a_call
from tests.support.virtual_time import play
from transcoding.status import Code, Fault, GatewayError


class World:
    """A policy before something that takes `seconds`; `began` are the principals in the order in which they ran."""

    def __init__(self, spec: Spec, seconds: float = 0.01, siblings: Siblings | None = None) -> None:
        self.counts, self.gauges = Counts(), Counts()
        loop = asyncio.get_running_loop()
        services = some_services(self.counts, gauges=self.gauges, name="gate", siblings=siblings or Siblings())
        services = type(services)(**{**vars(services), "clock": loop.time})
        self.policy = Policy(spec, services)
        self.seconds = seconds
        self.running = self.most = 0
        self.began: list[str] = []
        self.late = 0

    async def backend(self, call: Call) -> Reply:
        self.running += 1
        self.most = max(self.most, self.running)
        self.began.append(call.caller.principal)
        if call.deadline is not None and asyncio.get_running_loop().time() > call.deadline:
            self.late += 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        return Reply(OK)

    async def ask(self, principal: str = "", tenant: str = "", deadline: float | None = None, **more: Any) -> Reply:
        call = a_call()
        call.caller = Identity(principal, tenant, frozenset(more.pop("scopes", ())))
        headers = {name.replace("_", "-").encode(): value.encode() for name, value in more.items()}
        call.view = View("rest", "infer", "m", headers)
        if deadline is not None:
            call.deadline = asyncio.get_running_loop().time() + deadline
        return await self.policy(call, self.backend)

    def begin(self, *args: Any, **more: Any) -> asyncio.Task[Reply]:
        return asyncio.ensure_future(self.ask(*args, **more))

    def is_quiet(self) -> bool:
        gates = self.policy._gates.values()
        held = [gate.permits.in_flight + gate.queue.count + gate.queue.bytes for gate in gates]
        waiting = self.policy._waiting + self.policy._waiting_bytes
        return not (self.running or sum(held) or waiting or self.gauges.all())


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    play(bounded())


def test_a_worker_that_starts_frees_what_the_one_before_it_held(tmp_path: Path) -> None:
    async def test() -> None:
        spec = Spec(limit=Limit(fixed=1), queue=Queue(wait=0.1))
        other = World(spec, siblings=Siblings(str(tmp_path), 1, 2))
        killed = World(spec, 1e6, siblings=Siblings(str(tmp_path), 0, 2))
        call = killed.begin()
        await asyncio.sleep(0.01)
        assert (await error_of(other.ask())).code is Code.UNAVAILABLE
        World(spec, siblings=Siblings(str(tmp_path), 0, 2))  # before anybody asks it anything
        await other.ask()
        call.cancel()

    run(test)


async def error_of(task: Awaitable[Reply]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await task
    return caught.value


def test_no_more_than_the_limit_run_and_the_others_have_their_turn() -> None:
    async def test() -> None:
        world = World(Spec(Limit(3)))
        await asyncio.gather(*(world.ask() for _ in range(20)))
        assert world.most == 3
        assert world.counts["penstock_concurrency_waits_total", "gate", "default", "run"] == 17
        assert world.is_quiet()

    run(test)


def test_each_key_has_its_own_limit() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1), by=("principal",)))
        await asyncio.gather(*(world.ask(f"p{number % 4}") for number in range(8)))
        assert world.most == 4
        assert world.is_quiet()

    run(test)


@pytest.mark.parametrize(
    ("by", "status", "kind", "fault"),
    [("route", 503, REDUCED_CAPACITY, Fault.BUSY), ("tenant", 429, QUOTA_EXCEEDED, Fault.CLIENT)],
)
def test_a_full_queue_is_503_and_a_caller_s_own_limit_429(by: str, status: int, kind: str, fault: Fault) -> None:
    async def test() -> None:
        world = World(Spec(Limit(1), by=(by,), queue=Queue(requests=1)))
        tasks = [world.begin() for _ in range(2)]
        await asyncio.sleep(0)
        error = await error_of(world.ask())
        assert (error.http_status, error.fault, error.executed) == (status, fault, False)
        assert error.problem is not None
        assert error.problem["type"] == kind
        assert error.retry_after == 1.0
        assert b"RetryInfo" in error.details
        await asyncio.gather(*tasks)
        assert world.is_quiet()

    run(test)


def test_without_a_queue_nothing_waits() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1), queue=Queue(requests=0)))
        task = world.begin()
        await asyncio.sleep(0)
        assert (await error_of(world.ask())).http_status == 503
        await task

    run(test)


CLASSES = (Class("high", scope=("vip",)), Class("normal"), Class("low", principal=("batch-*",)))


def test_classes_go_by_what_they_name_and_the_most_urgent_is_first() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1), classes=CLASSES))
        first = world.begin("first")
        await asyncio.sleep(0)
        names = ["batch-1", "anybody", "batch-2", "boss"]
        tasks = [world.begin(name, scopes=["vip"] if name == "boss" else []) for name in names]
        await asyncio.gather(first, *tasks)
        assert world.began == ["first", "boss", "anybody", "batch-1", "batch-2"]

    run(test)


def test_a_header_counts_where_its_class_says_so() -> None:
    async def test() -> None:
        classes = (Class("high", scope=("vip",), header="x-priority", equals=("high",)), Class("any", header="x-any"))
        world = World(Spec(Limit(1), classes=classes))
        assert world.policy.needs_view
        first = world.begin("first")
        await asyncio.sleep(0)
        tasks = [
            world.begin("plain", scopes=["vip"]),
            world.begin("claims", x_priority="high"),
            world.begin("any", x_any=""),
            world.begin("may", scopes=["vip"], x_priority="high"),
        ]
        await asyncio.gather(first, *tasks)
        assert world.began == ["first", "may", "any", "plain", "claims"]

    run(test)


def test_the_least_urgent_makes_room() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1), queue=Queue(requests=1), classes=CLASSES))
        first = world.begin("first")
        await asyncio.sleep(0)
        low = world.begin("batch-1")
        await asyncio.sleep(0)
        high = world.begin("boss", scopes=["vip"])
        error = await error_of(low)
        assert error.http_status == 503
        assert "more urgent ones took its place" in error.message
        await asyncio.gather(first, high)
        assert world.began == ["first", "boss"]
        assert world.counts["penstock_concurrency_waits_total", "gate", "low", "shed"] == 1
        assert world.is_quiet()

    run(test)


def test_tenants_have_equal_shares_whatever_they_send() -> None:
    async def test() -> None:
        world = World(Spec(Limit(2), queue=Queue(wait=30.0)), 0.001)
        tasks = [world.begin("a", "greedy") for _ in range(200)] + [world.begin("b", "modest") for _ in range(50)]
        await asyncio.gather(*tasks)
        shares = Counter(world.began[2:102])
        index = (shares["a"] + shares["b"]) ** 2 / (2 * (shares["a"] ** 2 + shares["b"] ** 2))
        assert index >= 0.99

    run(test)


def test_who_waits_too_long_leaves() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1), queue=Queue(wait=0.02)), 0.1)
        first = world.begin()
        await asyncio.sleep(0)
        error = await error_of(world.ask())
        assert error.http_status == 503
        assert "its turn did not come in time" in error.message
        await first
        assert len(world.began) == 1
        assert world.is_quiet()

    run(test)


def test_no_call_runs_that_cannot_be_done_in_time() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1)), 0.03)
        for _ in range(20):
            await world.ask()
        began = len(world.began)
        error = await error_of(world.ask(deadline=0.015))  # at once, with a free permit
        assert (error.code, error.http_status, error.executed) == (Code.DEADLINE_EXCEEDED, 504, False)
        first = world.begin()
        await asyncio.sleep(0)
        error = await error_of(world.ask(deadline=0.045))  # in the queue: 30 ms are another one's
        assert error.http_status == 504
        await first
        assert len(world.began) == began + 1
        assert world.late == 0
        assert world.is_quiet()

    run(test)


def test_who_leaves_while_it_waits_takes_no_turn() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1)))
        first = world.begin("first")
        await asyncio.sleep(0)
        gone, stays = world.begin("gone"), world.begin("stays")
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(first, stays)
        assert gone.cancelled()
        assert world.began == ["first", "stays"]
        assert world.is_quiet()

    run(test)


@pytest.mark.parametrize("both", ["cancel first", "end first"])
def test_who_leaves_at_the_moment_of_its_turn_gives_the_permit_on(both: str) -> None:
    async def test() -> None:
        world = World(Spec(Limit(1)), 3600)
        first = world.begin("first")
        await asyncio.sleep(0)
        gone, stays = world.begin("gone"), world.begin("stays")
        await asyncio.sleep(0)
        for task in (gone, first) if both == "cancel first" else (first, gone):
            task.cancel()
            if both == "end first" and task is first:
                await asyncio.sleep(0)  # the permit was given, and is not yet taken
        await asyncio.sleep(0.01)
        assert world.began == ["first", "stays"]
        stays.cancel()
        await asyncio.wait([first, gone, stays])
        assert world.is_quiet()

    run(test)


def test_a_permit_is_given_back_whatever_ends_a_call() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1)))

        async def fails(call: Call) -> Reply:
            raise GatewayError(Code.UNAVAILABLE, "full", fault=Fault.BUSY)

        for _ in range(3):
            assert (await error_of(world.policy(a_call(), fails))).message == "full"
            task = world.begin()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await world.ask()
        assert world.is_quiet()

    run(test)


def test_a_stream_is_in_flight_until_its_end() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1)))
        ends: list[Callable[[], None]] = []

        class Stream:
            answers = 0

            def at_end(self, done: Callable[[], None]) -> None:
                ends.append(done)

        call = a_call()
        call.exchange = Stream()  # type: ignore[assignment]
        await world.policy(call, world.backend)
        second = world.begin()
        await asyncio.sleep(0.03)
        assert not second.done()
        ends[0]()
        await second
        assert world.is_quiet()

    run(test)


def test_an_adaptive_limit_lets_more_run_where_that_costs_nothing() -> None:
    async def test() -> None:
        world = World(Spec(Limit(adaptive=Adaptive(initial=2, max=30))), 0.005)
        await asyncio.gather(*(world.ask() for _ in range(900)))
        assert 6 <= world.most <= 30
        assert world.is_quiet()

    run(test)


def test_all_keys_together_have_bounded_room() -> None:
    async def test() -> None:
        world = World(Spec(Limit(1), by=("principal",), queue=Queue(requests=2)), 0.05)
        tasks = [world.begin(f"p{number}") for number in range(40) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert world.policy._waiting == ALL_KEYS * 2
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(each, Reply) for each in done) == 40 + ALL_KEYS * 2
        assert world.is_quiet()

    run(test)


def test_after_a_storm_nothing_is_held() -> None:
    async def test() -> None:
        rng = random.Random(7)
        world = World(Spec(Limit(4), queue=Queue(requests=30, wait=0.05), classes=CLASSES), 0.003)
        tasks = []
        for number in range(1500):
            name = rng.choice(["batch-1", "a", "b", "boss"])
            deadline = rng.choice([None, 0.001, 0.01, 0.1])
            scopes = ["vip"] if name == "boss" else []
            tasks.append(world.begin(name, str(number % 3), deadline, scopes=scopes))
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
            if number % 10 == 0:
                await asyncio.sleep(rng.random() * 0.01)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = Counter(type(each).__name__ for each in done)
        assert set(kinds) == {"Reply", "GatewayError", "CancelledError"}
        assert world.most <= 4
        assert world.late == 0
        assert world.is_quiet()

    run(test)
