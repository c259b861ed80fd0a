"""Everything a request needs, resolved and immutable; a change builds a new one and swaps one reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.telemetry.metrics import Cell, Histogram, Metrics
from routing.call import Handler
from routing.pool import Pool, unknown_model
from transcoding.status import Code

REMEMBERED_MODELS = 4096


class Route:
    """A route of the configuration, linked: the chain to its pool and the counters of its requests."""

    __slots__ = ("_codes", "_duration", "_metrics", "handler", "in_flight", "name", "pool", "timeout", "version")

    def __init__(
        self, name: str, pool: Pool, version: str, timeout: float | None, handler: Handler, metrics: Metrics
    ) -> None:
        self.name = name
        self.pool = pool
        self.version = version
        self.timeout = timeout
        self.handler = handler
        self.in_flight = 0
        self._metrics = metrics
        self._duration: Histogram = metrics.histogram("penstock_request_duration_seconds", (name,))
        self._codes: dict[tuple[str, int], Cell] = {}

    def deadline(self, started: float, *limits: float | None) -> float | None:
        """When a call that started then must be done: the earliest of the route's timeout and `limits`, in seconds."""
        seconds = self.timeout
        for limit in limits:
            if limit is not None and (seconds is None or limit < seconds):
                seconds = limit
        return None if seconds is None else started + seconds

    def finish(self, api: str, code: int, seconds: float) -> None:
        """Count a finished request, which `in_flight` counted before."""
        self.in_flight -= 1
        cell = self._codes.get((api, code))
        if cell is None:
            labels = (self.name, api, Code(code).name)
            cell = self._codes[api, code] = self._metrics.counter("penstock_requests_total", labels)
        cell.value += 1
        self._duration.observe(seconds)

    def __repr__(self) -> str:
        version = f" version {self.version}" if self.version else ""
        return f"<Route {self.name} to {self.pool.name}{version}>"


Matcher = Callable[[str], bool]


class Snapshot:
    """Routes by model: exact names at once, patterns in order, and what was found is remembered."""

    def __init__(self, routes: Sequence[tuple[Matcher, Route]], pools: dict[str, Pool]) -> None:
        self._routes = tuple(routes)
        self._found: dict[str, Route] = {}
        self.pools = pools
        self.routes = tuple(route for _, route in routes)

    def dispatch(self, model: str) -> Route:
        """The first route whose pattern takes this model. Raises `GatewayError` NOT_FOUND."""
        route = self._found.get(model)
        return route if route is not None else self._search(model)

    def _search(self, model: str) -> Route:
        for matches, route in self._routes:
            if matches(model):
                if len(self._found) >= REMEMBERED_MODELS:
                    self._found.clear()
                self._found[model] = route
                return route
        raise unknown_model(model)
