"""Before a modelled backend the limit finds what that can do, follows when it changes, and stays within its bounds."""

from __future__ import annotations

import heapq
import random

import pytest

from routing.gradient import Gradient
from tests.support.clock import Clock


class Backend:
    """`slots` calls at once, `seconds` each with some jitter; the rest queues. There is always more to ask."""

    def __init__(self, clock: Clock, slots: int, seconds: float) -> None:
        self.clock, self.slots, self.seconds = clock, slots, seconds
        self.rng = random.Random(1)
        self._free: list[float] = []
        self._done: list[tuple[float, float]] = []

    def run(self, gradient: Gradient, seconds: float, demand: int = 10**6) -> float:
        """Calls a second that were answered in that time."""
        clock, until, answered = self.clock, self.clock.now + seconds, 0
        while clock.now < until:
            while len(self._done) < min(gradient.limit, demand):
                self._send()
            clock.now, began = heapq.heappop(self._done)
            gradient.ended(clock.now - began, len(self._done) + 1)
            answered += 1
        return answered / seconds

    def _send(self) -> None:
        while len(self._free) > self.slots:
            heapq.heappop(self._free)
        while len(self._free) < self.slots:
            heapq.heappush(self._free, self.clock.now)
        start = max(self.clock.now, heapq.heappop(self._free))
        end = start + self.seconds * self.rng.uniform(0.9, 1.1)
        heapq.heappush(self._free, end)
        heapq.heappush(self._done, (end, self.clock.now))


@pytest.mark.parametrize(("slots", "seconds"), [(1, 0.05), (4, 0.02), (16, 0.05), (64, 0.05)])
def test_it_finds_what_the_backend_can_do(slots: int, seconds: float) -> None:
    clock = Clock()
    gradient, backend = Gradient(4, 1, 1000, 0.25, clock), Backend(clock, slots, seconds)
    backend.run(gradient, 2000 * seconds / slots)
    rates, limits = [], []
    for _ in range(20):
        rates.append(backend.run(gradient, 200 * seconds / slots))
        limits.append(gradient.limit)
    assert sum(rates) / len(rates) >= 0.93 * slots / seconds
    assert max(limits) <= 2.5 * slots + 4


def test_it_follows_when_the_backend_gets_smaller_and_larger() -> None:
    clock = Clock()
    gradient, backend = Gradient(4, 1, 1000, 0.25, clock), Backend(clock, 32, 0.02)
    backend.run(gradient, 30)
    backend.slots = 4
    backend.run(gradient, 60)
    assert gradient.limit <= 16
    backend.slots = 32
    backend.run(gradient, 60)
    assert backend.run(gradient, 10) >= 0.9 * 32 / 0.02


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    clock = Clock()
    gradient, backend = Gradient(10, 1, 1000, 0.25, clock), Backend(clock, 200, 0.02)
    backend.run(gradient, 20, demand=3)
    assert gradient.limit <= 10
    backend.run(gradient, 10)
    assert gradient.limit > 50


def test_bounds_hold() -> None:
    clock = Clock()
    gradient = Gradient(8, 4, 20, 0.25, clock)
    Backend(clock, 1000, 0.02).run(gradient, 10)
    assert 5 <= gradient.limit <= 20
    for _ in range(500):
        clock.now += 0.01
        gradient.ended(10.0, 20)
    assert gradient.limit == 4


def test_what_the_backend_refuses_lowers_it_at_once() -> None:
    clock = Clock()
    gradient = Gradient(100, 4, 1000, 0.25, clock)
    for _ in range(5):
        clock.now += 0.2
        gradient.ended(0.0, 100, refused=True)
    assert gradient.limit == 59
