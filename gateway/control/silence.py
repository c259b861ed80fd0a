"""For how long a process that runs has not answered: pure, with an injected clock."""

from __future__ import annotations

from collections.abc import Callable

FEWEST = 3
"""Polls in a row that went unanswered before it counts as silence: this process may have stood still itself."""


class Silence:
    """Counts from the first poll that had no answer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = 0.0
        self._polls = 0

    def poll(self, answered: bool) -> None:
        """A poll ended."""
        if answered:
            self._polls = 0
            return
        if not self._polls:
            self._since = self._clock()
        self._polls += 1

    @property
    def seconds(self) -> float:
        """How long it has lasted; 0 while it answers."""
        return self._clock() - self._since if self._polls >= FEWEST else 0.0
