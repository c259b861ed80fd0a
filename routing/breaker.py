"""What is known of one (endpoint, model, version), or of an endpoint as a whole, since a call to it failed."""

from __future__ import annotations

import math
from typing import Final

from config.pools import Outliers
from routing.call import Call
from routing.endpoint import Endpoint

Key = tuple[str, str]

ENDPOINT: Final[Key] = ("", "")
"""In place of (model, version): the endpoint as a whole."""
WINDOW: Final = 10.0
"""Seconds after which e⁻¹ of an outcome counts, and without a failure nothing does any more."""
FORGOTTEN_SECONDS: Final = 600.0
"""A breaker that may be probed for so long without a call for it is dropped."""


class Breaker:
    """Closed, it counts outcomes. Open, it keeps calls away until `until`; then it is due for one call, its `probe`.

    `ejections` is how often it opened without a quiet time between.
    """

    __slots__ = ("_at", "_bad", "_good", "_in_a_row", "_quiet_from", "_spec", "ejections", "endpoint", "key", "open",
                 "probe", "until")  # fmt: skip

    def __init__(self, endpoint: Endpoint, key: Key, spec: Outliers, now: float) -> None:
        self.endpoint = endpoint
        self.key = key
        self.open = False
        self.until = now
        self.probe: Call | None = None
        self.ejections = 0
        self._spec = spec
        self._in_a_row = 0
        self._good = 0.0
        self._bad = 0.0
        self._at = now
        self._quiet_from = now

    def count(self, good: bool, now: float) -> None:
        """One more outcome while closed."""
        kept = math.exp(-max(0.0, now - self._at) / WINDOW)
        self._at = now
        self._good *= kept
        self._bad *= kept
        if good:
            self._good += 1.0
            self._in_a_row = 0
        else:
            self._bad += 1.0
            self._in_a_row += 1
            self._quiet_from = now

    @property
    def tripped(self) -> bool:
        """Too many failures in a row, or too small a share of good calls."""
        spec, calls = self._spec, self._good + self._bad
        if self._in_a_row >= spec.consecutive:
            return True
        return calls >= spec.requests and self._good < spec.success * calls

    def trip(self, now: float) -> float:
        """Open, for as many seconds as are returned: more with each time."""
        self.ejections += 1
        seconds = min(self._spec.max, self._spec.base * self.ejections)
        self.open = True
        self.until = self._quiet_from = now + seconds
        self.probe = None
        self._good = self._bad = 0.0
        self._in_a_row = 0
        return seconds

    def close(self) -> None:
        """The probe was good."""
        self.open = False
        self.probe = None

    def due(self, now: float) -> bool:
        """Open, and to be tried by a call."""
        return self.open and self.probe is None and now >= self.until

    def stale(self, now: float) -> bool:
        """Good for long, or open and asked for by nobody: no longer worth keeping."""
        if self.open:
            return self.probe is None and now > self.until + FORGOTTEN_SECONDS
        return now > self._quiet_from + max(WINDOW, self._spec.base * self.ejections)

    def __repr__(self) -> str:
        what = f"open until {self.until:.1f}" if self.open else "closed"
        return f"<Breaker {self.endpoint.address} {self.key}: {what}>"
