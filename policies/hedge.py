"""Sends a call that takes long to a second endpoint as well; the first good answer counts.

What "long" is comes from the calls themselves: the latency that the share `percentile` of the last ones to this model
and version stayed below, but never less than `floor`. Nothing is sent twice until enough calls were measured. The other
one of a pair is cancelled as soon as one has a good answer, at its Triton too. Both have the deadline of the call.

Only calls that may run twice without harm are hedged (`idempotent: true`, here or in a `retry` further out), none of a
stateful sequence, and neither streams nor generate requests. The second ones are paid from a budget of `budget` of the
requests. Under saturation nothing is sent twice: for a second after an endpoint said that a queue is full, or where no
other endpoint does better, that is, half of what each of them has in flight is late too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

from config.fields import duration, flag, number
from config.node import Node
from policies import Services
from routing.budget import Budget
from routing.call import Call, Handler, Reply
from routing.endpoint import Endpoint
from routing.quantile import Quantile
from transcoding.status import Fault, GatewayError

LEAST_CALLS = 50
"""Measured calls below which a percentile says nothing."""
CALM_SECONDS = 1.0
"""How long after a full queue nothing is sent twice."""
REMEMBERED_MODELS = 4096


class Spec(Node, frozen=True):
    """When a second request is sent, and how many at most."""

    percentile: Annotated[float, number("The share of calls that are not hedged, as they are fast", 0.5, 0.999)] = 0.95
    floor: Annotated[float, duration("The shortest wait before the second request", 0.0, 3600.0)] = 0.01
    budget: Annotated[float, number("Second requests, as a share of the requests", 0.0, 1.0)] = 0.05
    idempotent: Annotated[bool, flag("Whether running a request twice does no harm")] = False


class Policy:
    """Awaits `next`, and beside it once more when that takes long. A call that is fast costs one timer and no task.
    `late` is how many calls at an endpoint take long now."""

    def __init__(self, spec: Spec, services: Services) -> None:
        self._spec = spec
        self._services = services
        self.clock = services.clock
        self.spawn = services.spawn
        self._budget = Budget(spec.budget, 0.0, services.clock)
        self._latencies: dict[tuple[str, str, str], Quantile] = {}
        self._busy_until = 0.0
        self.late: Counter[Endpoint] = Counter()

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`. An error of one request waits for the other, unless it is the client's mistake."""
        if not (self._spec.idempotent or call.idempotent) or call.sequence or call.exchange is not None:
            return await next(call)
        self._budget.requests += 1
        latency = self._latency(call)
        if not latency.value:
            started = self.clock()
            reply = await next(call)
            latency.observe(self.clock() - started)
            return reply
        return await _Pair(self, call, next, latency).run(max(self._spec.floor, latency.value))

    def _latency(self, call: Call) -> Quantile:
        key = (call.route, call.model, call.version)
        found = self._latencies.get(key)
        if found is None:
            if len(self._latencies) >= REMEMBERED_MODELS:
                self._latencies.clear()
            found = self._latencies[key] = Quantile(self._spec.percentile, LEAST_CALLS)
        return found

    def may_hedge(self, call: Call) -> bool:
        """Is there room for a second request? Counts it in the budget."""
        now = self.clock()
        if now < self._busy_until or (call.deadline is not None and now >= call.deadline):
            return False
        if call.deaths or not self._is_better_elsewhere(call):
            return False
        if not self._budget.take():
            self.count(call, "refused")
            return False
        return True

    def _is_better_elsewhere(self, call: Call) -> bool:
        """Is there another endpoint with the model, of whose calls less than half are late?"""
        slow, late = call.endpoint, self.late
        for pool in self._services.pools.values():
            if slow in pool.endpoints:
                others = pool.candidates(call.model, call.version)
                return any(2 * late[each] < max(each.in_flight, 1) for each in others if each is not slow)
        return False

    def no_longer_late(self, endpoint: Endpoint) -> None:
        """A call that was late there is over."""
        self.late[endpoint] -= 1
        if not self.late[endpoint]:
            del self.late[endpoint]

    def failed(self, error: GatewayError) -> None:
        """An error of one of a pair."""
        if error.fault is Fault.BUSY:
            self._busy_until = self.clock() + CALM_SECONDS

    def count(self, call: Call, result: str) -> None:
        """One more second request: `won`, `lost`, `failed`, or `refused` by the budget."""
        self._services.counters("penstock_hedges_total", (call.route, result)).value += 1


class _Pair:
    """One call, awaited in the task that asked, and the second request for it in a task of its own, if it comes to
    that. When the second one wins, the first is ended as a timeout would: by cancelling the task, and taking that back.
    """

    __slots__ = (
        "_beside",
        "_call",
        "_late_at",
        "_latency",
        "_next",
        "_over",
        "_policy",
        "_second",
        "_second_at",
        "_task",
        "_won",
    )

    def __init__(self, policy: Policy, call: Call, next: Handler, latency: Quantile) -> None:
        self._policy = policy
        self._call = call
        self._next = next
        self._latency = latency
        self._task = current_task()
        self._beside: Call | None = None
        self._second: asyncio.Task[Reply | GatewayError] | None = None
        self._second_at = 0.0
        self._late_at: Endpoint | None = None
        self._won = self._over = False

    async def run(self, delay: float) -> Reply:
        """The first good answer; the second request is sent after `delay` seconds."""
        policy, task = self._policy, self._task
        cancelling = task.cancelling()
        timer = task.get_loop().call_later(delay, self._start)
        started = policy.clock()
        try:
            reply = await self._next(self._call)
            if self._won:
                task.uncancel()
            self._latency.observe(policy.clock() - started)
        except asyncio.CancelledError:
            if not self._won or task.uncancel() > cancelling:
                raise
            reply = self._answer_of_second()
        except GatewayError as error:
            policy.failed(error)
            reply = await self._rescue(error)
        finally:
            self._over = True
            timer.cancel()
            self._end()
        return reply

    def _start(self) -> None:
        self._late_at = self._call.endpoint
        if self._late_at is not None:
            self._policy.late[self._late_at] += 1
        if self._policy.may_hedge(self._call):
            self._second_at = self._policy.clock()
            self._beside = self._call.again()
            self._second = self._policy.spawn(self._ask_again(self._beside), "hedge")
            self._second.add_done_callback(self._second_ended)

    async def _ask_again(self, call: Call) -> Reply | GatewayError:
        try:
            return await self._next(call)
        except GatewayError as error:
            return error
        finally:
            self._call.attempts += call.attempts
            self._call.deaths += call.deaths

    def _second_ended(self, second: asyncio.Task[Reply | GatewayError]) -> None:
        if second.cancelled() or second.exception() is not None:
            return
        result = second.result()
        if isinstance(result, GatewayError):
            self._policy.failed(result)
            self._policy.count(self._call, "failed")
        elif not self._over:
            self._won = True
            self._task.cancel()

    def _answer_of_second(self) -> Reply:
        """What won; the call is then known by where that was."""
        assert self._second is not None
        assert self._beside is not None
        reply = self._second.result()
        assert isinstance(reply, Reply)
        self._call.endpoint, self._call.variant = self._beside.endpoint, self._beside.variant
        self._latency.observe(self._policy.clock() - self._second_at)
        self._policy.count(self._call, "won")
        return reply

    async def _rescue(self, error: GatewayError) -> Reply:
        """After the first one failed: the second may still do well, unless the request itself is wrong."""
        second, beside = self._second, self._beside
        if second is None or beside is None or error.fault in (Fault.CLIENT, Fault.GATEWAY):
            raise error
        self._over = True
        failure = await second
        if isinstance(failure, Reply):
            return self._answer_of_second()
        self._call.tried = beside.tried if beside.endpoint is None else (*beside.tried, beside.endpoint)
        raise failure if failure.executed and not error.executed else error

    def _end(self) -> None:
        if self._late_at is not None:
            self._policy.no_longer_late(self._late_at)
        second = self._second
        if second is not None and not second.done():
            second.cancel()
            self._policy.count(self._call, "lost")


def current_task() -> asyncio.Task[object]:
    """The task that this runs in."""
    task = asyncio.current_task()
    assert task is not None, "policies run in tasks"
    return task
