"""Simulated time: events in order, and a clock that stands where the last one was."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

Action = Callable[..., None]


class Events:
    """A queue of what is to happen. `now` is in seconds and never goes back."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done = 0
        self._queue: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._count = 0

    def clock(self) -> float:
        """The time, for code that is given a clock."""
        return self.now

    def at(self, when: float, action: Action, *arguments: Any) -> None:
        """Let `action(*arguments)` happen at `when`; of the same moment in the order of the calls."""
        self._count += 1
        heapq.heappush(self._queue, (when, self._count, action, arguments))

    def after(self, seconds: float, action: Action, *arguments: Any) -> None:
        """`at`, from now."""
        self.at(self.now + seconds, action, *arguments)

    def step(self) -> bool:
        """Let the next event happen; False when there is none."""
        if not self._queue:
            return False
        self.now, _, action, arguments = heapq.heappop(self._queue)
        self.done += 1
        action(*arguments)
        return True
