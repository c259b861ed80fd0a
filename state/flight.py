"""The same question asked several times at once: one asks on, the others wait for its answer.

Who asks on may go away or fail for reasons of its own: then exactly one of those that wait takes over, and the others
go on waiting, each no longer than it has time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from enum import Enum
from typing import Final, Generic, Literal, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Turn(Enum):
    """What a waiter may hear instead of an answer: it is to `LEAD` now, or its time is over, `LATE`."""

    LEAD = "lead"
    LATE = "late"


LEAD: Final = Turn.LEAD
LATE: Final = Turn.LATE


class Flights(Generic[K, R]):
    """What is being asked now, by key. Of each key one task leads: it must end that by `land` or `hand_over`."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[K, deque[asyncio.Future[R | Turn]]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, key: K) -> bool:
        return key in self._waiters

    def waited(self, key: K) -> bool:
        """Does anybody wait for this?"""
        return bool(self._waiters.get(key))

    def lead(self, key: K) -> bool:
        """True if nobody asks this; then the caller leads."""
        if key in self._waiters:
            return False
        self._waiters[key] = deque()
        return True

    async def wait(self, key: K, deadline: float | None) -> R | Literal[Turn.LEAD, Turn.LATE]:
        """What the leader's answer is, when it lands. `LEAD` if the caller is to lead from now on, `LATE` when it is
        past `deadline`, in the loop's time."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[R | Turn] = loop.create_future()
        self._waiters[key].append(waiter)
        timer = None if deadline is None else loop.call_at(deadline, _set, waiter, LATE)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result() is LEAD:
                self.hand_over(key)  # it was to lead, and is gone
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def land(self, key: K, result: R) -> None:
        """The leader's answer, for all that wait."""
        for waiter in self._waiters.pop(key):
            _set(waiter, result)

    def hand_over(self, key: K) -> bool:
        """The leader leads no more: the first that still waits does. False if nobody waits."""
        waiters = self._waiters[key]
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(LEAD)
                return True
        del self._waiters[key]
        return False


def _set(waiter: asyncio.Future[R | Turn], result: R | Turn) -> None:
    if not waiter.done():
        waiter.set_result(result)
