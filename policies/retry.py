"""Sends a failed call again, to another endpoint where there is one.

What provably never ran a model is always safe to repeat: nothing answered, the queue was full, the model was not ready.
The pool does that by itself, at once, as long as other endpoints are left; this policy waits and asks again, so that a
short outage is not the client's. What may have run (an error of the model, an endpoint that went away in the middle) is
repeated only where `idempotent: true` says that running a request twice does no harm. Never repeated: the client's own
mistakes, what is past its deadline or would be, requests of a stateful sequence that may have run, and a request during
which a second endpoint died, as it may be why. A stream is begun again as long as no message of its answer has come.

Retries are paid from a budget, so that a failure of everything is not made worse: `budget` of the requests that pass
here, and `min_per_second` besides. Waits double from `backoff` to `max_backoff` with full jitter; where the answer said
when to come back (Retry-After), not before that; two seconds at most.
"""

from __future__ import annotations

from typing import Annotated

from config.fields import count, duration, flag, number
from config.node import Node
from policies import Services
from routing.budget import Budget
from routing.call import Call, Handler, Reply
from routing.connectors.outcome import MODEL_BROKEN, NoOther, died
from transcoding.status import Fault, GatewayError

LONGEST_WAIT = 2.0
"""Seconds: a client that can be answered no earlier is better told so."""


class Spec(Node, frozen=True):
    """When a call is sent again, and how often at most."""

    attempts: Annotated[int, count("How often a call is tried at most, the first time counted", 2, 10)] = 2
    idempotent: Annotated[bool, flag("Whether running a request twice does no harm")] = False
    budget: Annotated[float, number("Retries, as a share of the requests", 0.0, 1.0)] = 0.2
    min_per_second: Annotated[float, number("Retries a second that are allowed besides", 0.0, 10_000.0)] = 3.0
    backoff: Annotated[float, duration("The longest wait before the first retry; it doubles", 0.0, 60.0)] = 0.025
    max_backoff: Annotated[float, duration("The longest wait before any retry", 0.0, 3600.0)] = 0.25


class Policy:
    """Awaits `next` until it answers, or the error is none to repeat."""

    def __init__(self, spec: Spec, services: Services) -> None:
        self._spec = spec
        self._idempotent = spec.idempotent
        self._clock = services.clock
        self._sleep = services.sleep
        self._random = services.rng.random
        self._budget = Budget(spec.budget, spec.min_per_second, services.clock)
        self._counters = services.counters

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`, awaited up to `attempts` times. Raises the last error that says something of the call."""
        self._budget.requests += 1
        if self._idempotent:
            call.idempotent = True
        try:
            return await next(call)
        except GatewayError as error:
            return await self._again(call, next, error)

    async def _again(self, call: Call, next: Handler, error: GatewayError) -> Reply:
        for attempt in range(1, self._spec.attempts):
            if not may_repeat(call, error) or not await self._wait(call, error, attempt):
                raise error
            sent, reason = call.attempts, error.fault.name.lower()
            try:
                return await self._elsewhere(call, next, error)
            except NoOther:
                raise error from None
            except GatewayError as failure:
                error = failure
            finally:
                if call.attempts > sent:
                    self._count("penstock_retries_total", call, reason)
        raise error

    async def _elsewhere(self, call: Call, next: Handler, error: GatewayError) -> Reply:
        """Where the call was not yet. Where it was, only if that endpoint never ran it or went away: it may be back."""
        if call.endpoint is not None and call.endpoint not in call.tried:
            call.tried = (*call.tried, call.endpoint)
        try:
            return await next(call)
        except NoOther:
            if error.executed and not died(error):
                raise
            call.tried = ()
            return await next(call)

    async def _wait(self, call: Call, error: GatewayError, attempt: int) -> bool:
        """Wait for as long as is due. False if there is no time for that, or nothing left in the budget."""
        spec = self._spec
        seconds = self._random() * min(spec.max_backoff, spec.backoff * 2 ** (attempt - 1))
        if error.retry_after is not None:
            seconds = max(seconds, error.retry_after)
        due = call.due
        too_late = due is not None and self._clock() + seconds >= due
        if too_late or seconds > max(LONGEST_WAIT, spec.max_backoff):
            return False
        if not self._budget.take():
            self._count("penstock_retries_refused_total", call)
            return False
        if seconds:
            await self._sleep(seconds)
        return True

    def _count(self, family: str, call: Call, *more: str) -> None:
        self._counters(family, (call.route, *more)).value += 1


def may_repeat(call: Call, error: GatewayError) -> bool:
    """Is it safe, and of any use, to send the call again after this error?"""
    if call.exchange is not None and call.exchange.spent:
        return False
    if not error.executed:
        return error.fault in (Fault.BUSY, Fault.WORKER)
    if not call.idempotent or call.sequence or call.deaths > 1:
        return False
    return error.fault in (Fault.WORKER, Fault.MODEL) and error.code in MODEL_BROKEN
