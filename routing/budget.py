"""How many extra requests may be sent, as a share of the requests that there are: what keeps retries from making an
overload worse.

Both kinds are remembered with exponential forgetting (time constant `TAU`), so that a burst of failures may draw on
what the last seconds' requests earned. Extra requests stay below `ratio` × requests + `minimum` × (elapsed + `TAU`)
over any time from the start: what is remembered, plus what was forgotten at the rate 1/`TAU`, is all there was, on both
sides of the comparison. The idea is that of Finagle's RetryBudget (20 % and 10 a second over 10 seconds).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

TAU: Final = 10.0
"""Seconds after which e⁻¹ of what was sent is remembered."""


class Budget:
    """`requests` is the owner's to count, one for each; the clock is only looked at when an extra one is wanted.
    `ratio` is the share of extra requests, `minimum` how many a second may be sent however few requests there are."""

    __slots__ = ("_at", "_clock", "_earned", "_minimum", "_ratio", "_seen", "_spent", "requests")

    def __init__(self, ratio: float, minimum: float, clock: Callable[[], float]) -> None:
        self.requests = 0
        self._ratio = ratio
        self._minimum = minimum
        self._clock = clock
        self._at = clock()
        self._seen = 0
        self._earned = 0.0
        self._spent = 0.0

    def take(self) -> bool:
        """May one more extra request be sent? If so it is counted."""
        self._forget()
        if self._spent + 1.0 > self._ratio * self._earned + self._minimum * TAU:
            return False
        self._spent += 1.0
        return True

    def _forget(self) -> None:
        """Bring what is remembered to now; requests since the last look are taken as evenly spread over that time."""
        now = self._clock()
        elapsed, self._at = max(0.0, now - self._at), now
        fresh, self._seen = self.requests - self._seen, self.requests
        kept = math.exp(-elapsed / TAU)
        spread = (1.0 - kept) * TAU / elapsed if elapsed > 1e-6 else 1.0
        self._earned = self._earned * kept + fresh * spread
        self._spent *= kept
