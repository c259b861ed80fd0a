"""How long to wait before the next try: exponential, with jitter so that many do not try at once."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Waits of `first`, twice that, and so on up to `cap` seconds, each shortened by up to a half at random."""

    def __init__(self, first: float, cap: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._first = first
        self._cap = cap
        self._uniform = uniform
        self._next = first

    def next(self) -> float:
        """The wait in seconds; the one after is twice as long."""
        wait, self._next = self._next, min(self._next * 2, self._cap)
        return wait * self._uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: begin again at `first`."""
        self._next = self._first
