"""Everything a request needs, resolved and immutable; a change builds a new one and swaps one reference."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from types import MappingProxyType

from config.match import Patterns
from gateway.telemetry.metrics import Cell, Histogram, Metrics
from routing.call import Handler
from routing.chains import NO_CHAINS, Chains
from routing.match import View
from routing.pins import Pins, Resolved
from routing.pool import Pool, unknown_model
from routing.table import Table, Variant
from transcoding.status import Code, GatewayError

REMEMBERED_MODELS = 4096
NO_LISTENERS: Mapping[str, Snapshot] = MappingProxyType({})


class Route:
    """A route of the configuration, linked: where its requests go and the counters of them.

    `only` is the variant of all its requests, None when `choose` must say it. `pins` are what holds for sequences that
    are under way, None if nothing does. `stand_ins` are the pools that take over when those of its variants have no
    endpoint. `in_flight` is the gauge of the route's name, so it goes on counting when the route is built anew. `head`
    are the policies that say who calls, None without any, and `needs_view` says that some policy looks at a request's
    head; `guards` are those for requests without tensors.
    """

    __slots__ = ("_codes", "_durations", "_metrics", "guards", "guards_view", "head", "in_flight", "name", "needs_view",
                 "only", "pins", "stand_ins", "table", "timeout")  # fmt: skip

    def __init__(
        self,
        name: str,
        table: Table,
        timeout: float | None,
        metrics: Metrics,
        stand_ins: tuple[Pool, ...] = (),
        pins: Pins | None = None,
        chains: Chains = NO_CHAINS,
    ) -> None:
        self.name = name
        self.head: Handler | None = chains.head
        self.needs_view: bool = chains.needs_view
        self.guards: Handler | None = chains.guards
        self.guards_view: bool = chains.guards_view
        self.table = table
        self.stand_ins = stand_ins
        self.only: Variant | None = table.only
        self.pins = pins
        self.timeout = timeout
        self.in_flight: Cell = metrics.gauge("penstock_inflight", (name,))
        self._metrics = metrics
        self._durations: dict[str, Histogram] = {}
        self._codes: dict[tuple[str, str, int], Cell] = {}

    @property
    def serving(self) -> bool:
        """Whether its requests have somewhere to go."""
        pools = [each.pool for each in self.table.defaults]
        return any(pool.live for pool in (*pools, *self.stand_ins))

    def choose(self, view: View) -> Variant:
        """The variant that takes this request."""
        return self.table.choose(view)

    def resolve(self, view: View, version: str, parameters: Mapping[str, object]) -> Resolved:
        """Where a request goes that names this version, "" for none. One of a stateful sequence goes where that began,
        and to the version that it began with. Raises `GatewayError`."""
        if self.pins is None or not view.sequence:
            variant = self.only or self.table.choose(view)
            return Resolved(variant, *variant.resolve(view.model, version))
        start, end = parameters.get("sequence_start") is True, parameters.get("sequence_end") is True
        return self.pins.resolve(self.name, self.table, view, version, start, end)

    def deadline(
        self, loop: asyncio.AbstractEventLoop, limit: float | None = None, until: float | None = None
    ) -> float | None:
        """When a call that starts now must be done, in the loop's time, None for never: the earliest of the route's
        timeout and of `limit`, in seconds, and of `until`, in the loop's time."""
        seconds = self.timeout
        if limit is not None and (seconds is None or limit < seconds):
            seconds = limit
        if seconds is None:
            return until
        due = loop.time() + seconds
        return due if until is None or due < until else until

    def finish(self, api: str, code: int, started: float, variant: str) -> None:
        """Count a finished request, which `in_flight` counted before and which started at that `perf_counter`: the
        loop's own clock may be as coarse as a millisecond. `variant` names the one that it went to, "" for none."""
        self.in_flight.value -= 1
        cell = self._codes.get((variant, api, code))
        if cell is None:
            answered = (self.name, api, Code(code).name, variant)
            cell = self._codes[variant, api, code] = self._metrics.counter("penstock_requests_total", answered)
        cell.value += 1
        duration = self._durations.get(variant)
        if duration is None:
            took = (self.name, variant)
            duration = self._durations[variant] = self._metrics.histogram("penstock_request_duration_seconds", took)
        duration.observe(perf_counter() - started)

    def __repr__(self) -> str:
        return f"<Route {self.name}: {', '.join(map(repr, self.table.variants))}>"


class Snapshot:
    """Routes by model: exact names at once, globs in order, and what was found is remembered.

    `listeners` has those listeners, by name, whose requests pass policies of their own before those of the route:
    snapshots of the same pools in which each route begins with these. `front` are a listener's own policies, for what
    is about no model that has a route.
    """

    def __init__(
        self,
        routes: Sequence[tuple[Patterns, Route]],
        pools: dict[str, Pool],
        listeners: Mapping[str, Snapshot] = NO_LISTENERS,
        front: Chains = NO_CHAINS,
    ) -> None:
        self.pools = pools
        self.listeners = listeners
        self.front = front
        self.routes = tuple(route for _, route in routes)
        self._found: dict[str, Route] = {}
        self._globs = [(at, patterns.globs) for at, (patterns, _) in enumerate(routes) if patterns.globs is not None]
        self._names: dict[str, int] = {}
        for at, (patterns, _) in enumerate(routes):
            for name in patterns.names:
                self._names.setdefault(name, at)

    def of_listener(self, name: str) -> Snapshot:
        """What the requests of this listener are answered with."""
        return self.listeners.get(name, self)

    def dispatch(self, model: str) -> Route:
        """The first route whose pattern takes this model. Raises `GatewayError` NOT_FOUND."""
        route = self._found.get(model)
        if route is None:
            route = self._search(model)
            if route is None:
                raise unknown_model(model)
        return route

    def find(self, model: str) -> Route | None:
        """The same, None where there is none."""
        return self._found.get(model) or self._search(model)

    def _search(self, model: str) -> Route | None:
        position = self._names.get(model, len(self.routes))
        for at, globs in self._globs:
            if at >= position:
                break
            if globs.match(model):
                position = at
                break
        if position == len(self.routes):
            return None
        if len(self._found) >= REMEMBERED_MODELS:
            self._found.clear()
        route = self._found[model] = self.routes[position]
        return route


def code_of(error: BaseException) -> Code:
    """How a request that ended with this exception is counted."""
    if isinstance(error, GatewayError):
        return error.code
    return Code.CANCELLED if isinstance(error, asyncio.CancelledError) else Code.INTERNAL
