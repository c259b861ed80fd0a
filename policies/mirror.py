"""Sends a share of calls to another pool, model or version as well, to see how it does; nobody waits for its answers.

A copy is sent when the call is, and whatever becomes of it is only counted: `penstock_mirrored_total`, by the outcome
(`ok`; `refused` for a request that is wrong; `error`; `dropped`; `cancelled`). It never delays, changes or fails the
call it is of, is never sent again, and counts neither among what endpoints have in flight for users nor for or against
their health.

At most `in_flight` copies, and `max_bytes` of them, are under way in one worker; beyond that copies are dropped. Under
pressure they are the first to go: as soon as any call that passes here, or a copy, is told that a queue is full, all
copies under way are cancelled and none is made for a second. Streams, requests of a stateful sequence, and bodies
without JSON, which are written where they go, have no copies.

To be set behind the policies that say who may call what, or it copies what would have been refused.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Final

from msgspec import Meta

from config.fields import MIB, count, duration, number, size, text
from config.node import Node
from config.routes import Target
from policies import Services
from routing.call import Call, Handler, Reply
from routing.order import Unsound
from routing.reading import is_written, retarget
from transcoding.status import Code, Fault, GatewayError

ORDER = (
    Unsound("before", "authorize", "what is refused there is copied all the same"),
    Unsound("before", "rate_limit", "what is refused there is copied all the same"),
    Unsound("before", "concurrency", "what waits or is refused there is copied all the same"),
    Unsound("before", "validate", "what is refused there is copied all the same"),
    Unsound("before", "cache", "what is found there is computed for the copy"),
    Unsound("after", "retry", "each attempt is copied; let mirror come first"),
    Unsound("after", "hedge", "each of a pair is copied; let mirror come first"),
)

CALM_SECONDS: Final = 1.0


class Spec(Node, frozen=True):
    """Where copies go, and how many."""

    to: Annotated[Target, Meta(description="Where copies go")]
    share: Annotated[float, number("The share of calls that are copied", 0.0, 1.0)] = 1.0
    in_flight: Annotated[int, count("Copies under way in one worker", 1, 10_000)] = 16
    max_bytes: Annotated[int, size("What these hold")] = 64 * MIB
    timeout: Annotated[float, duration("How long a copy may take")] = 10.0
    name: Annotated[str, text("What its endpoint's log and traces call it")] = "mirror"


class Policy:
    """Spawns a copy of a call, and forgets it."""

    needs_body = True

    def __init__(self, spec: Spec, services: Services) -> None:
        self._spec = spec
        self._services = services
        self._copies: set[asyncio.Task[str]] = set()
        self._bytes = 0
        self._calm_until = 0.0

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`, beside a copy."""
        if self._wants(call):
            self._copy(call)
        try:
            return await next(call)
        except GatewayError as error:
            self._learn(error)
            raise

    def _wants(self, call: Call) -> bool:
        if call.exchange is not None or call.sequence or not is_written(call):
            return False
        share = self._spec.share
        return share >= 1.0 or self._services.rng.random() < share

    def _copy(self, call: Call) -> None:
        size = sum(map(len, call.message))
        full = len(self._copies) >= self._spec.in_flight or self._bytes + size > self._spec.max_bytes
        if full or self._services.clock() < self._calm_until:
            self._count(call.route, "dropped")
            return
        self._bytes += size
        task = self._services.spawn(self._send(copy_of(call)), "mirror")
        self._copies.add(task)
        task.add_done_callback(partial(self._ended, call.route, size))

    def _ended(self, route: str, size: int, task: asyncio.Task[str]) -> None:
        """Whatever ended it, perhaps before it began."""
        self._copies.discard(task)
        self._bytes -= size
        if task.cancelled():
            self._count(route, "cancelled")
        else:
            self._count(route, task.result() if task.exception() is None else "error")

    async def _send(self, copy: Call) -> str:
        try:
            await self._ask(copy)
        except GatewayError as error:
            self._learn(error)
            return "refused" if error.code is Code.INVALID_ARGUMENT else "error"
        return "ok"

    async def _ask(self, copy: Call) -> None:
        services, target = self._services, self._spec.to
        copy.deadline = services.clock() + self._spec.timeout
        copy.variant = self._spec.name
        model = target.model or copy.model
        retarget(copy, model, services.version_of(target, model) if target.version else copy.version)
        pool = services.pools[target.pool]
        if copy.prepare is not None:
            await copy.prepare(pool, copy)
        await pool.choose(copy).channel.unary(copy)

    def _learn(self, error: GatewayError) -> None:
        """Where a queue is full the copies make room."""
        if error.fault is Fault.BUSY and not error.executed:
            self._calm_until = self._services.clock() + CALM_SECONDS
            current = asyncio.current_task()
            for task in self._copies:
                if task is not current:
                    task.cancel()

    def _count(self, route: str, outcome: str) -> None:
        self._services.counters("penstock_mirrored_total", (route, outcome)).value += 1


def copy_of(call: Call) -> Call:
    """The same request as a call that nobody waits for: what is told of it goes nowhere."""
    told = call.told
    copy = call.again()
    call.told, copy.told, copy.tried = told, None, ()
    return copy
