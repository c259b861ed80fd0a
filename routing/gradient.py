"""How many calls may be in flight, learned from how long they take.

The formula is that of Envoy's adaptive concurrency filter (gradient_controller.cc) and of Netflix's Gradient2:

    gradient = base × (1 + buffer) / sample,  within 0.5 … 1
    limit'   = gradient × limit + √limit

where `sample` is the median latency of the last window of calls and `base` the one without queues. While calls take
hardly longer than that the limit grows by its root for each window; where they queue it settles at about
base × (1 + buffer) / sample = 1 − 1/√limit, which keeps a short queue at the backend. A limit that is not used does not
grow, and one that the backend itself refuses to fill goes down by a tenth at once.

`base` is the lowest median of the last two periods of `PERIOD` windows, so an old one is forgotten. As a limit that
was too high for long would hide it, each period begins with a window at a quarter of the limit. GPUs serve few calls at
once, and one call may be the right number; so the least limit is the operator's, from 1, where Envoy has 3 and Netflix
20.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

WINDOW_CALLS: Final = 20
WINDOW_SECONDS: Final = 0.1
"""A window ends when it has so many calls and so long."""
MOST_CALLS: Final = 200
PERIOD: Final = 40
"""Windows until the base is measured anew."""
LOWEST: Final = 0.5
DIP: Final = 0.25
BACKOFF: Final = 0.9


class Gradient:
    """`limit` calls may be in flight, from `least` to `most`; it begins at `first`. `buffer` is how much longer than
    without a queue calls may take."""

    __slots__ = ("_before", "_best", "_buffer", "_busiest", "_clock", "_latencies", "_least", "_limit", "_most",
                 "_refused", "_started", "_window")  # fmt: skip

    def __init__(self, first: int, least: int, most: int, buffer: float, clock: Callable[[], float]) -> None:
        self._limit = float(first)
        self._least = least
        self._most = most
        self._buffer = buffer
        self._clock = clock
        self._latencies: list[float] = []
        self._busiest = 0
        self._refused = False
        self._started = clock()
        self._window = 0
        self._best = self._before = math.inf

    @property
    def limit(self) -> int:
        """How many calls may be in flight now."""
        return max(self._least, int(self._limit * DIP if self._dips else self._limit))

    @property
    def _dips(self) -> bool:
        """The limit is lower for a while, to see what calls take without a queue."""
        return self._window == 0 and self._base < math.inf

    @property
    def _base(self) -> float:
        return min(self._best, self._before)

    def ended(self, seconds: float, in_flight: int, refused: bool = False) -> None:
        """A call took so long while so many were in flight, or the backend `refused` it for want of room."""
        if refused:
            self._refused = True
        elif len(self._latencies) < MOST_CALLS:
            if self._dips and self._clock() - seconds < self._started:
                return  # it began in the queue that is to be gone
            self._latencies.append(seconds)
        if in_flight > self._busiest:
            self._busiest = in_flight
        if len(self._latencies) >= WINDOW_CALLS or refused:
            now = self._clock()
            if now - self._started >= WINDOW_SECONDS:
                self._end_window(now)

    def _end_window(self, now: float) -> None:
        if len(self._latencies) >= WINDOW_CALLS:
            self._judge(sorted(self._latencies)[len(self._latencies) // 2])
        elif self._refused:
            self._set(self._limit * BACKOFF)
        self._latencies.clear()
        self._busiest = 0
        self._refused = False
        self._started = now

    def _judge(self, sample: float) -> None:
        dipped = self._dips
        self._window = (self._window + 1) % PERIOD
        if self._window == 0:
            self._before, self._best = self._best, math.inf
        self._best = min(self._best, sample)
        if self._refused:
            self._set(self._limit * BACKOFF)
        elif not dipped:
            gradient = max(LOWEST, min(1.0, self._base * (1.0 + self._buffer) / max(sample, 1e-9)))
            wanted = gradient * self._limit + math.sqrt(self._limit)
            if wanted < self._limit or self._busiest >= self._limit - 1.0:
                self._set(wanted)

    def _set(self, limit: float) -> None:
        self._limit = min(float(self._most), max(float(self._least), limit))
