"""Requests for a model that is not loaded wait for it: within bounds, with one question, and with an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from config.schema import Models
from gateway import waiting as module
from gateway.telemetry.metrics import Metrics
from gateway.waiting import Tell, WaitingRoom, WaitingRooms
from gateway.world import Outcome
from routing.call import Call
from routing.connectors.outcome import NotLoaded
from tests.support.deadline import eventually
from tests.support.pools import State, a_call, a_pool, an_endpoint
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError

COLD = NotLoaded(Code.NOT_FOUND, "Request for unknown model: 'm' has no available versions")


class Bench:
    """A room, and a control that answers when told."""

    def __init__(self, **settings: Any) -> None:
        self.metrics = Metrics()
        self.models = Models(mode="on_demand", **settings)
        self.asked: list[str] = []
        self.tells: list[Tell] = []
        self.answers: asyncio.Queue[Outcome] = asyncio.Queue()
        self.room = WaitingRoom("p", self.models, self.ask, self.metrics)

    async def ask(self, pool: str, model: str, tell: Tell) -> Outcome:
        self.asked.append(model)
        self.tells.append(tell)
        return await self.answers.get()

    def enter(self, model: str = "m", seconds: float | None = None, size: int = 10) -> asyncio.Task[None]:
        call = a_call(model)
        call.message = (bytes(size),)
        if seconds is not None:
            call.deadline = asyncio.get_running_loop().time() + seconds
        return asyncio.ensure_future(self.room(call, COLD))

    async def failure(self, task: asyncio.Task[None]) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await task
        return caught.value

    def ended(self, how: str) -> float:
        return self.metrics.counter("penstock_model_waits_total", ("p", how)).value

    @property
    def waiting(self) -> float:
        return self.metrics.gauge("penstock_model_waiting", ("p",)).value


def play(scene: Callable[[Bench], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def run() -> None:
        bench = Bench(**settings)
        async with asyncio.timeout(10):
            await scene(bench)
        await eventually(lambda: bench.waiting == 0)
        assert bench.metrics.gauge("penstock_model_waiting_bytes", ("p",)).value == 0

    asyncio.run(run())


def test_a_burst_asks_once_and_all_go_on() -> None:
    async def scene(bench: Bench) -> None:
        tasks = [bench.enter() for _ in range(500)]
        other = bench.enter("n")
        await eventually(lambda: bench.waiting == 501)
        assert bench.asked == ["m", "n"]
        assert bench.metrics.gauge("penstock_model_waiting_bytes", ("p",)).value == 5010
        bench.answers.put_nowait(Outcome("ready"))
        await asyncio.gather(*tasks)
        assert not other.done()
        bench.answers.put_nowait(Outcome("ready"))
        await other
        assert bench.ended("loaded") == 501

    play(scene)


@pytest.mark.parametrize(
    ("outcome", "code", "fault", "retry", "text", "ended"),
    [
        (
            Outcome("failed", "no such file", 20.0), Code.UNAVAILABLE, Fault.WORKER, 20.0,
            "model 'm' does not load: no such file", "failed",
        ),
        (
            Outcome("busy", "no room: every loaded model is in use"), Code.UNAVAILABLE, Fault.BUSY, 1.0,
            "model 'm' is not loaded: no room: every loaded model is in use", "busy",
        ),
        (
            Outcome("unknown"), Code.NOT_FOUND, Fault.CLIENT, None,
            "Request for unknown model: 'm' is not found", "failed",
        ),
    ],
)  # fmt: skip
def test_all_are_told_why_it_is_not_loaded(
    outcome: Outcome, code: Code, fault: Fault, retry: float | None, text: str, ended: str
) -> None:
    async def scene(bench: Bench) -> None:
        tasks = [bench.enter() for _ in range(3)]
        bench.answers.put_nowait(outcome)
        for task in tasks:
            error = await bench.failure(task)
            assert (error.code, error.fault, error.retry_after, error.message) == (code, fault, retry, text)
            assert not error.executed
        assert bench.ended(ended) == 3

    play(scene)


def test_a_deadline_ends_one_wait_and_not_the_others() -> None:
    async def scene(bench: Bench) -> None:
        short, long = bench.enter(seconds=0.05), bench.enter(seconds=5.0)
        await eventually(lambda: bench.tells)
        bench.tells[0]("it is being loaded on a:1")
        error = await bench.failure(short)
        assert error.code == Code.DEADLINE_EXCEEDED
        assert error.message == "the deadline came before model 'm' was loaded: it is being loaded on a:1"
        assert not long.done()
        bench.answers.put_nowait(Outcome("ready"))
        await long
        assert (bench.ended("deadline"), bench.ended("loaded")) == (1, 1)

    play(scene)


def test_nobody_waits_longer_than_a_load_may_take() -> None:
    async def scene(bench: Bench) -> None:
        error = await bench.failure(bench.enter(seconds=60.0))
        assert error.code == Code.UNAVAILABLE
        assert error.message == "model 'm' was not loaded in time: control was not heard of"
        bench.answers.put_nowait(Outcome("ready"))

    play(scene, load_timeout=0.1)


def test_a_room_is_full_by_number_and_by_bytes() -> None:
    async def scene(bench: Bench) -> None:
        tasks = [bench.enter() for _ in range(2)]
        await eventually(lambda: bench.waiting == 2)
        error = await bench.failure(bench.enter())
        assert (error.code, error.fault, error.http_status) == (Code.UNAVAILABLE, Fault.BUSY, 503)
        assert error.message == "model 'm' is not loaded, and too many requests wait for models already"
        tasks[0].cancel()
        await eventually(lambda: bench.waiting == 1)
        await bench.failure(bench.enter(size=91))
        last = bench.enter(size=90)
        bench.answers.put_nowait(Outcome("ready"))
        await asyncio.gather(tasks[1], last)
        assert (bench.ended("full"), bench.ended("cancelled")) == (2, 1)

    play(scene, waiting_requests=2, waiting_bytes=100)


def test_a_control_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AWAY_PAUSE", 0.01)

    async def scene(bench: Bench) -> None:
        task = bench.enter()
        for _ in range(3):
            bench.answers.put_nowait(Outcome("away", "no control"))
        bench.answers.put_nowait(Outcome("ready"))
        await task
        assert len(bench.asked) == 4
        hurried = bench.enter(seconds=0.03)
        for _ in range(2):
            bench.answers.put_nowait(Outcome("away", "no control"))
        error = await bench.failure(hurried)
        assert error.message == "the deadline came before model 'm' was loaded: no control"
        for _ in range(3):
            bench.answers.put_nowait(Outcome("away", "no control"))
        await asyncio.sleep(0.05)
        assert len(bench.asked) <= 8  # nobody waits any more

    play(scene)


def test_a_question_about_readiness_needs_no_load() -> None:
    async def scene(bench: Bench) -> None:
        for name in ("ModelReady", "ModelStatistics"):
            with pytest.raises(NotLoaded):
                await bench.room(Call(BY_NAME[name], "m", "", (b"",)), COLD)
        assert bench.asked == []
        asking = asyncio.ensure_future(bench.room(Call(BY_NAME["ModelMetadata"], "m", "", (b"",)), COLD))
        bench.answers.put_nowait(Outcome("ready"))
        await asking

    play(scene)


def test_a_pool_sends_what_waited_when_the_model_is_there() -> None:
    async def scene(bench: Bench) -> None:
        endpoint = an_endpoint("a:1", {"m": {}})
        pool = a_pool([endpoint])
        pool.loader = bench.room
        sent = asyncio.ensure_future(pool.forward(a_call()))
        await eventually(lambda: bench.asked)
        bench.answers.put_nowait(Outcome("ready"))  # but unloaded again before its turn
        await eventually(lambda: len(bench.asked) == 2)
        endpoint.inventory = {"m": {"1": State("READY")}}
        pool.changed()
        bench.answers.put_nowait(Outcome("ready"))
        assert (await sent).endpoint is endpoint

    play(scene)


def test_rooms_outlive_snapshots_and_are_for_pools_that_load_on_demand() -> None:
    async def run() -> None:
        bench = Bench()
        rooms = WaitingRooms(bench.ask, bench.metrics)
        assert rooms.room("p", Models(mode="explicit")) is None
        room = rooms.room("p", bench.models)
        assert room is not None
        changed = Models(mode="on_demand", waiting_requests=1)
        assert rooms.room("p", changed) is room
        assert room.models is changed

    asyncio.run(run())
