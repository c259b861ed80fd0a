"""A quantile of latencies as they come, with the past fading: one addition for a value, and little memory.

Values are counted in buckets whose bounds grow by a quarter of an octave, so the quantile is right to 19 %, on the
upper side. When `MEMORY` values are counted all counts are halved; the quantile itself is looked up anew only once in
`STRIDE` values.
"""

from __future__ import annotations

import math
from typing import Final

LOWEST: Final = 1e-4
PER_OCTAVE: Final = 4
BUCKETS: Final = 100
"""From 0.1 ms in quarter octaves to 56 minutes."""
MEMORY: Final = 1024
STRIDE: Final = 16


class Quantile:
    """`value` in seconds below which the share `q` of the last values was; 0 until `least` values came."""

    __slots__ = ("_counts", "_due", "_least", "_q", "_total", "value")

    def __init__(self, q: float, least: int) -> None:
        self.value = 0.0
        self._q = q
        self._least = least
        self._counts = [0] * BUCKETS
        self._total = 0
        self._due = least

    def observe(self, seconds: float) -> None:
        """One more value."""
        place = 0 if seconds <= LOWEST else math.ceil(math.log2(seconds / LOWEST) * PER_OCTAVE)
        self._counts[min(place, BUCKETS - 1)] += 1
        self._total += 1
        if self._total >= self._due:
            self._look_up()

    def _look_up(self) -> None:
        wanted, below = self._q * self._total, 0
        for place, count in enumerate(self._counts):
            below += count
            if below >= wanted:
                self.value = LOWEST * 2 ** (place / PER_OCTAVE)
                break
        if self._total >= MEMORY:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)
        self._due = self._total + STRIDE
