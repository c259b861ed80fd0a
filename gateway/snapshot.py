"""Everything a request needs, resolved and immutable; a change builds a new one and swaps one reference."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from config.match import Patterns
from gateway.telemetry.metrics import Cell, Histogram, Metrics
from routing.call import Handler
from routing.pool import Pool, unknown_model
from transcoding.status import Code, GatewayError

REMEMBERED_MODELS = 4096


class Route:
    """A route of the configuration, linked: the chain to its pool and the counters of its requests.

    `in_flight` is the gauge of the route's name, so it goes on counting when the route is built anew.
    """

    __slots__ = ("_codes", "_duration", "_metrics", "handler", "in_flight", "name", "pool", "timeout", "version")

    def __init__(
        self, name: str, pool: Pool, version: str, timeout: float | None, handler: Handler, metrics: Metrics
    ) -> None:
        self.name = name
        self.pool = pool
        self.version = version
        self.timeout = timeout
        self.handler = handler
        self.in_flight: Cell = metrics.gauge("penstock_inflight", (name,))
        self._metrics = metrics
        self._duration: Histogram = metrics.histogram("penstock_request_duration_seconds", (name,))
        self._codes: dict[tuple[str, int], Cell] = {}

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

    def finish(self, api: str, code: int, started: float) -> None:
        """Count a finished request, which `in_flight` counted before and which started at that `perf_counter`: the
        loop's own clock may be as coarse as a millisecond."""
        self.in_flight.value -= 1
        cell = self._codes.get((api, code))
        if cell is None:
            labels = (self.name, api, Code(code).name)
            cell = self._codes[api, code] = self._metrics.counter("penstock_requests_total", labels)
        cell.value += 1
        self._duration.observe(perf_counter() - started)

    def __repr__(self) -> str:
        version = f" version {self.version}" if self.version else ""
        return f"<Route {self.name} to {self.pool.name}{version}>"


class Snapshot:
    """Routes by model: exact names at once, globs in order, and what was found is remembered."""

    def __init__(self, routes: Sequence[tuple[Patterns, Route]], pools: dict[str, Pool]) -> None:
        self.pools = pools
        self.routes = tuple(route for _, route in routes)
        self._found: dict[str, Route] = {}
        self._globs = [(at, patterns.globs) for at, (patterns, _) in enumerate(routes) if patterns.globs is not None]
        self._names: dict[str, int] = {}
        for at, (patterns, _) in enumerate(routes):
            for name in patterns.names:
                self._names.setdefault(name, at)

    def dispatch(self, model: str) -> Route:
        """The first route whose pattern takes this model. Raises `GatewayError` NOT_FOUND."""
        route = self._found.get(model)
        return route if route is not None else self._search(model)

    def _search(self, model: str) -> Route:
        position = self._names.get(model, len(self.routes))
        for at, globs in self._globs:
            if at >= position:
                break
            if globs.match(model):
                position = at
                break
        if position == len(self.routes):
            raise unknown_model(model)
        if len(self._found) >= REMEMBERED_MODELS:
            self._found.clear()
        route = self._found[model] = self.routes[position]
        return route


def code_of(error: BaseException) -> Code:
    """How a request that ended with this exception is counted."""
    if isinstance(error, GatewayError):
        return error.code
    return Code.CANCELLED if isinstance(error, asyncio.CancelledError) else Code.INTERNAL
