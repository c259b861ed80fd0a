"""What failed, why, and when it may be tried again: pure, with an injected clock."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

LONGEST = 600.0
"""Seconds; the most that a failure is not tried again for."""

K = TypeVar("K", bound=Hashable)


class Failure(NamedTuple):
    """The last of `times` failures in a row; `until` is by the clock."""

    reason: str
    times: int
    until: float


class Failures(Generic[K]):
    """Failures by key. After the first one, `first` seconds pass before the next try, then twice as many, and so on."""

    def __init__(self, first: float, clock: Callable[[], float]) -> None:
        self._first = first
        self._clock = clock
        self._failures: dict[K, Failure] = {}

    def add(self, key: K, reason: str) -> Failure:
        """It failed, again perhaps."""
        count = self._failures[key].times + 1 if key in self._failures else 1
        wait = min(self._first * 2 ** min(count - 1, 30), max(self._first, LONGEST))
        failure = self._failures[key] = Failure(reason, count, self._clock() + wait)
        return failure

    def clear(self, key: K) -> None:
        """It worked, or is another thing now."""
        self._failures.pop(key, None)

    def keep(self, wanted: Callable[[K], bool]) -> None:
        """Forget the others."""
        self._failures = {key: each for key, each in self._failures.items() if wanted(key)}

    def get(self, key: K) -> Failure | None:
        """The last failure, whether or not its time is over."""
        return self._failures.get(key)

    def wait(self, key: K) -> float:
        """Seconds until it may be tried again; 0 when it may be now."""
        failure = self._failures.get(key)
        return max(0.0, failure.until - self._clock()) if failure is not None else 0.0

    def items(self) -> list[tuple[K, Failure]]:
        """All that are remembered."""
        return list(self._failures.items())
