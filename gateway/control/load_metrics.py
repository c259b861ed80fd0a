"""The metrics of loads and unloads of one pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from gateway.telemetry.metrics import Metrics

Why = Literal["room", "idle", "calm", "unlisted"]


class LoadMetrics:
    """Counts what is loaded and unloaded in `pool`."""

    def __init__(self, metrics: Metrics, pool: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._pool = pool
        self._clock = clock
        self._seconds = metrics.histogram("penstock_model_load_seconds", (pool,))

    @contextmanager
    def load(self) -> Iterator[None]:
        """Around a load: how it ended, and how long it took if it worked."""
        began = self._clock()
        result = "failed"
        try:
            yield
            result = "ok"
            self._seconds.observe(self._clock() - began)
        finally:
            self._metrics.counter("penstock_model_loads_total", (self._pool, result)).value += 1

    def counts(self) -> dict[str, int]:
        """Loads, loads that failed, and unloads so far."""
        counter = self._metrics.counter
        return {
            "loads": round(counter("penstock_model_loads_total", (self._pool, "ok")).value),
            "failed_loads": round(counter("penstock_model_loads_total", (self._pool, "failed")).value),
            "unloads": round(
                sum(counter("penstock_model_unloads_total", (self._pool, why)).value for why in get_args(Why))
            ),
        }

    def unloaded(self, why: Why) -> None:
        """A model went: to make room, since nobody asked for it, since its other copies are enough, or since the
        configuration lists it no more."""
        self._metrics.counter("penstock_model_unloads_total", (self._pool, why)).value += 1
