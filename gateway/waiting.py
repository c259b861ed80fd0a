"""The waiting rooms of a worker: requests whose model is known but not loaded wait here while control loads it.

A room is bounded by the number and the bytes of its requests, and each waits no longer than its deadline and the pool's
`load_timeout`. However many wait for a model, control is asked once, and all have the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from config.schema import Models
from gateway.tasks import spawn
from gateway.telemetry.metrics import Metrics
from gateway.world import Outcome
from routing.call import Call
from routing.connectors.outcome import NotLoaded, does_not_load
from routing.pool import unknown_model
from transcoding.status import Code, Fault, GatewayError

AWAY_PAUSE = 0.2
"""Seconds until control, which was away, is asked again."""
QUESTIONS = frozenset({"ModelMetadata", "ModelConfig"})
"""What is asked of a model before it is used: the answer needs it loaded. Whether it is ready needs no load."""

Tell = Callable[[str], None]
Ask = Callable[[str, str, Tell], Awaitable[Outcome]]
Ended = Literal["loaded", "failed", "busy", "full", "deadline", "cancelled"]


class _Load:
    """A model that control was asked for, and those who wait for it."""

    def __init__(self, outcome: asyncio.Future[Outcome]) -> None:
        self.outcome = outcome
        self.progress = "control was not heard of"
        self.waiting = 0

    def tell(self, progress: str) -> None:
        self.progress = progress


class WaitingRoom:
    """The room of one pool: `routing.pool.Loader`. `ask` has control load a model: `link.WorkerLink.load`."""

    def __init__(self, pool: str, models: Models, ask: Ask, metrics: Metrics) -> None:
        self.models = models
        self._pool = pool
        self._ask = ask
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._loads: dict[str, _Load] = {}
        self._requests = metrics.gauge("penstock_model_waiting", (pool,))
        self._bytes = metrics.gauge("penstock_model_waiting_bytes", (pool,))

    async def __call__(self, call: Call, error: NotLoaded) -> None:
        """Return when the call's model is loaded. Raises `GatewayError`: `error` for what needs no load."""
        if call.method.kind not in ("infer", "stream") and call.method.name not in QUESTIONS:
            raise error
        size = sum(map(len, call.message))
        if self._requests.value >= self.models.waiting_requests or self._bytes.value + size > self.models.waiting_bytes:
            self._count("full")
            raise unavailable(f"model '{call.model}' is not loaded, and too many requests wait for models already")
        load = self._loads.get(call.model) or self._begin(call.model)
        load.waiting += 1
        self._requests.value += 1
        self._bytes.value += size
        ended: Ended = "cancelled"
        limit = self._loop.time() + self.models.load_timeout
        try:
            due = call.due
            until = limit if due is None else min(limit, due)
            async with asyncio.timeout_at(until):
                outcome = await asyncio.shield(load.outcome)
            ended, failure = answer(call.model, outcome)
            if failure is not None:
                raise failure
        except TimeoutError:
            ended = "deadline"
            raise too_late(call, load.progress, limit) from None
        finally:
            self._count(ended)
            load.waiting -= 1
            self._requests.value -= 1
            self._bytes.value -= size

    def _begin(self, model: str) -> _Load:
        load = self._loads[model] = _Load(self._loop.create_future())
        spawn(self._bring(model, load), f"load of {model}")
        return load

    async def _bring(self, model: str, load: _Load) -> None:
        """Ask control until it answers, as long as anybody waits."""
        outcome = Outcome("failed", "internal error", 1.0)
        try:
            outcome = await self._ask(self._pool, model, load.tell)
            while outcome.state == "away" and load.waiting:
                load.progress = outcome.reason
                await asyncio.sleep(AWAY_PAUSE)
                outcome = await self._ask(self._pool, model, load.tell)
        finally:
            del self._loads[model]
            load.outcome.set_result(outcome)

    def _count(self, ended: Ended) -> None:
        self._metrics.counter("penstock_model_waits_total", (self._pool, ended)).value += 1


class WaitingRooms:
    """The rooms of a worker, by pool; they outlive snapshots."""

    def __init__(self, ask: Ask, metrics: Metrics) -> None:
        self._ask = ask
        self._metrics = metrics
        self._rooms: dict[str, WaitingRoom] = {}

    def room(self, pool: str, models: Models) -> WaitingRoom | None:
        """The room of a pool; None if its models are not loaded on demand."""
        if models.mode != "on_demand":
            return None
        room = self._rooms.get(pool)
        if room is None:
            room = self._rooms[pool] = WaitingRoom(pool, models, self._ask, self._metrics)
        room.models = models
        return room


def answer(model: str, outcome: Outcome) -> tuple[Ended, GatewayError | None]:
    """How a wait ended, and what the client is told if not well."""
    if outcome.state == "ready":
        return "loaded", None
    if outcome.state == "unknown":
        return "failed", unknown_model(model)
    if outcome.state == "failed":
        return "failed", does_not_load(model, outcome.reason, outcome.retry_after)
    return "busy", unavailable(f"model '{model}' is not loaded: {outcome.reason}")


def too_late(call: Call, progress: str, limit: float) -> GatewayError:
    """Neither loaded nor failed in time: by the deadline of the call, or by the `limit` of a load."""
    due = call.due
    if due is not None and due <= limit:
        text = f"the deadline came before model '{call.model}' was loaded: {progress}"
        return GatewayError(Code.DEADLINE_EXCEEDED, text, fault=Fault.BUSY)
    return unavailable(f"model '{call.model}' was not loaded in time: {progress}")


def unavailable(text: str) -> GatewayError:
    """There is not enough of something: the same may work in a moment."""
    return GatewayError(Code.UNAVAILABLE, text, fault=Fault.BUSY, retry_after=1.0)
