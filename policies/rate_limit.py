"""Refuses what a caller sends beyond its rate.

A rate such as `100/s` refills evenly, and `burst` is what may come at once (if not given, all that the rate gives in
its second, minute, hour or day): no time of w seconds has more than rate × w + burst. Several `windows`, such as 20/s
and 10000/d, hold together. A call is charged `requests` (1), `items` (the first dimension of its first input),
`bytes` (of the request as gRPC) or `tokens`: for these `estimate` is reserved, or the request's `max_tokens` if that
is less, and settled when the answer is over.

`by` says whose limit it is: that of each `principal`, `tenant`, `model`, `route`, `pool`, `address` (of IPv6, the /64)
or `header:NAME`, of several of them together, or one for `all`. A header is what the client says it is: count by one
only where that cannot be had for nothing. A key of a caller may bring limits of its own, by the name of the policy.

`mode` says who counts. `exact`: the store, by one script for each call, so that all gateways together keep the limit.
`leased`: the store too, but workers take up to `lease` units ahead, for 0.2 s at most; with W workers in all, up to
min(rate × 0.2 s, W × lease) may pass beyond the limit. `local`: memory that the workers of a node share, so N nodes
let N times as much through. Where the store does not answer, `on_error` decides: `local` counts in that memory
meanwhile, `open` lets all through, `closed` nothing.

A restart of workers, and clocks that are set, multiply nothing. A store that loses what it wrote last forgets that
much, and the memory of a node goes when its gateway ends. With `shadow` nothing is refused, only counted. Answers tell
`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), refusals `Retry-After` too: 429, or
RESOURCE_EXHAUSTED with a RetryInfo. They are never sent again by a `retry`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Final, Literal

from msgspec import Meta

from config.fields import count, flag, if_given, text
from config.node import Node
from policies import Services
from routing.call import Call, Handler, Reply
from routing.cost import cost_of
from routing.limit_key import limit_key, names_caller, needs_pool, needs_view
from routing.order import IDENTITY, Unsound
from routing.quota import LEFT, POLICY, Quota, own_quota
from routing.refusals import no_room, over_limit
from state import StateError
from state.gcra import MAX_WINDOWS, Taken
from state.limiters import Exact, Leased, Limiter, Local
from transcoding.status import GatewayError

AWAY_SECONDS: Final = 1.0
"""When to come back if there is no store to ask."""

ORDER = (
    Unsound(
        "without",
        IDENTITY,
        "nobody is known to it, so all callers share one limit",
        lambda options: names_caller(options["by"]),
    ),
    Unsound(
        "before",
        IDENTITY,
        "where the call goes is not known yet, so all pools share one limit",
        lambda options: needs_pool(options["by"]),
    ),
)

Settle = Callable[[int, Sequence[float]], Awaitable[None]]
Rate = Annotated[str, text("How many, and in what time: 100/s, 600/min, 1000/h or 10000/d", "rate")]
Burst = Annotated[
    int, count("How many may come at once; as many as the rate gives in its period if not given", 1, 10**12)
]
LimitKey = Annotated[str, text("all, principal, tenant, model, route, pool, address or header:NAME", "limit_key")]


class Allowance(Node, frozen=True):
    """One of several windows of a limit."""

    shorthand = "rate"

    rate: Rate
    burst: Burst | None = None


class Spec(Node, frozen=True):
    """How much may come, of whom, and who counts it."""

    one_of = ("rate", "windows")

    rate: Rate | None = None
    burst: Burst | None = None
    windows: Annotated[
        tuple[Allowance, ...], if_given(f"Rates that hold together, {MAX_WINDOWS} at most", most=MAX_WINDOWS)
    ] = ()
    by: Annotated[tuple[LimitKey, ...], if_given("Whose limit it is", bare_item=True)] = ("principal",)
    unit: Annotated[Literal["requests", "items", "bytes", "tokens"], Meta(description="What is counted")] = "requests"
    mode: Annotated[Literal["leased", "exact", "local"], Meta(description="Who counts")] = "leased"
    on_error: Annotated[
        Literal["local", "open", "closed"], Meta(description="What holds while the store does not answer")
    ] = "local"
    lease: Annotated[int, count("Units that a worker takes ahead at most; 0 for a twentieth of the burst", 0)] = 0
    estimate: Annotated[int, count("Tokens that are reserved for a call until it is over", 1)] = 256
    shadow: Annotated[bool, flag("Whether nothing is refused, only counted")] = False
    headers: Annotated[bool, flag("Whether answers tell what is left")] = True

    @property
    def needs_state(self) -> bool:
        """Whether it uses the store."""
        return self.mode != "local"


class Policy:
    """Charges a call before it goes on, or refuses it."""

    guards = True

    def __init__(self, spec: Spec, services: Services) -> None:
        self.needs_view = needs_view(spec.by)
        self.needs_pool = needs_pool(spec.by)
        self.needs_body = spec.unit != "requests"
        self._spec = spec
        self._name = services.name
        self._services = services
        written = ((spec.rate, spec.burst),) if spec.rate else tuple((each.rate, each.burst) for each in spec.windows)
        self._quota = Quota(services.name or "limit", spec.unit, written)
        self._key = limit_key(spec.by)
        self._cost = cost_of(spec.unit, spec.estimate)
        self._local = Local(services.siblings.limits)
        self._limiter = self._make_limiter()
        self._settles = spec.unit == "tokens"
        self._tells = spec.headers and not spec.shadow

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`. Raises `GatewayError` 429 for a call beyond the limit."""
        quota, key, units = self._quota, f"{self._name}:{self._key(call)}", self._cost(call)
        if call.caller.limits:
            quota = self._own(call, quota)
        limiter: Limiter | None = self._limiter
        taken = self._limiter.at_once(key, quota.windows, units)
        if taken is None:
            limiter, taken = await self._ask(key, quota, units)
        if not taken.granted:
            self._refuse(call, quota, taken, units)
        if self._tells and taken.leads:
            for name, value in quota.told(taken.leads):
                call.tell(name, value)
        if self._settles and limiter is not None and taken.granted:
            return await self._settled(call, next, partial(limiter.settle, key, quota.windows), taken)
        return await next(call)

    def _make_limiter(self) -> Limiter:
        state, spec, services = self._services.state, self._spec, self._services
        if spec.mode == "local" or state is None:
            return self._local
        if spec.mode == "exact":
            return Exact(state, services.clock)
        return Leased(state, services.spawn, spec.lease, services.clock)

    def _own(self, call: Call, quota: Quota) -> Quota:
        """The limit that the caller's key brings with it; the policy's own where it brings none that can be read."""
        written = call.caller.limits.get(self._name)
        return quota if written is None else own_quota(self._name, self._spec.unit, written) or quota

    async def _ask(self, key: str, quota: Quota, units: int) -> tuple[Limiter | None, Taken]:
        """What the store says, or what is to hold without it, and who was charged."""
        try:
            return self._limiter, await self._limiter.ask(key, quota.windows, units)
        except StateError:
            self._count(self._spec.on_error)
        if self._spec.on_error == "local":
            return self._local, self._local.at_once(key, quota.windows, units)
        if self._spec.on_error == "open" or self._spec.shadow:
            return None, Taken(units, 0.0, (), ())
        text = f"rate limit '{self._name}' cannot be looked up; try again later"
        raise no_room(text, AWAY_SECONDS, [self._name])

    def _refuse(self, call: Call, quota: Quota, taken: Taken, units: int) -> None:
        """Raise the refusal, unless it is only to be counted."""
        if self._spec.shadow:
            self._count("shadow")
            return
        self._count("refused")
        names = quota.exceeded(taken.leads, units)
        limits = " and ".join(quota.rates)
        text = f"rate limit '{self._name}' of {limits} is used up; try again in {taken.wait:.3g} s"
        if math.isinf(taken.wait):
            text = f"rate limit '{self._name}' of {limits} never allows {units} {self._spec.unit} at once"
        fields = ((POLICY, quota.policy), (LEFT, quota.left(taken.leads, units))) if self._spec.headers else ()
        raise over_limit(text, taken.wait, names, fields)

    async def _settled(self, call: Call, next: Handler, settle: Settle, taken: Taken) -> Reply:
        """Answer by `next`, and charge in the end what it took instead of what was reserved."""
        try:
            reply = await next(call)
        except GatewayError as error:
            if not error.executed:
                self._settle(settle, -taken.granted, taken)
            raise
        exchange = call.exchange
        if exchange is not None:
            exchange.at_end(lambda: self._settle(settle, exchange.answers - taken.granted, taken))
        return reply

    def _settle(self, settle: Settle, delta: int, taken: Taken) -> None:
        if delta:
            self._services.spawn(self._try_to(settle, delta, taken), "settling of a limit")

    async def _try_to(self, settle: Settle, delta: int, taken: Taken) -> None:
        try:
            await settle(delta, taken.idles)
        except StateError:
            self._count("unsettled")

    def _count(self, result: str) -> None:
        self._services.counters("penstock_rate_limit_total", (self._name, result)).value += 1
