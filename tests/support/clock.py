"""Time for tests that passes only when told, or slept."""

from __future__ import annotations


class Clock:
    """Time that passes only when told, or slept."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
