"""A limit of concurrency with a queue before it: who may go now, who waits, and what it learns of how long calls take.

The permits are those of all workers of a node, the queue is this worker's. When a call ends, the permit goes to the
worker where the most urgent call waits, and among equals to the one that has fewer in flight: the worker that gives it
back goes on with its own queue, or rings that other one. A worker with a queue also looks by itself every `LOOK`
seconds, so nothing that is lost stops it.

It follows the mean duration of calls and how much that varies, as TCP does for round trips (RFC 6298). A call that
needs more than is left of its time even if it is quick, mean − 2 × deviation, is not worth a permit; each such verdict
makes the next less likely, so an estimate that has grown too old corrects itself. While others wait a permit is too
good for a call that is likely to be late, so one leaves the queue when it has less than mean + 2 × deviation left: a
first in, first out queue would else do all of its work just too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from routing.bell import Bell
from routing.gradient import Gradient
from routing.permits import NOTHING, Permits
from routing.queueing import FairQueue, Waiting

LOOK: Final = 0.005
BELIEVED: Final = 0.1
"""Seconds for which other workers believe what this one said of its queue."""
_MEAN: Final = 0.125
_DEVIATION: Final = 0.25
_DOUBT: Final = 0.98
_PACE: Final = 0.05


class Gate:
    """One limit: `limit` calls of all workers, or what `gradient` says of this one's own."""

    def __init__(
        self,
        permits: Permits,
        queue: FairQueue,
        limit: int,
        gradient: Gradient | None,
        bell: Bell,
        clock: Callable[[], float],
    ) -> None:
        self.queue = queue
        self.permits = permits
        self.limit = limit
        self.gradient = gradient
        self._bell = bell
        self._clock = clock
        self._shared = permits.shared
        self._looks: asyncio.TimerHandle | None = None
        self._unheard: Callable[[], None] | None = None
        self._mean = 0.0
        self._deviation = 0.0
        self._pace = 0.0
        self._left_at = 0.0

    @property
    def quickest(self) -> float:
        """Seconds that a call takes if it is quick; 0 until any was seen."""
        return max(0.0, self._mean - 2.0 * self._deviation)

    @property
    def likely(self) -> float:
        """Seconds that most calls take at most; 0 until any was seen."""
        return self._mean + 2.0 * self._deviation

    @property
    def idle(self) -> bool:
        """Nothing is in flight here, and nothing waits."""
        return self.permits.mine == 0 and self.queue.count == 0

    def enter(self) -> bool:
        """Take a permit at once, if nobody is to have it before. Then `leave` is owed."""
        if self.queue.count or (self._shared and self.permits.rival(NOTHING, self._clock()) is not None):
            return False
        return self._take()

    def wait(self, call: Waiting) -> list[Waiting] | None:
        """Let a call wait, which may have its turn at once; those that had to make room, None if there was none."""
        victims = self.queue.push(call)
        if victims is not None:
            self.pump()
        return victims

    def forget(self, call: Waiting) -> None:
        """A call does not wait any more; its turn had not come."""
        self.queue.remove(call)
        if self._shared:
            self._say()

    def leave(self, seconds: float | None, refused: bool = False) -> None:
        """Give a permit back: the call took so long, None if that says nothing; `refused` for want of room."""
        if self.gradient is not None and (refused or seconds is not None):
            self.gradient.ended(seconds or 0.0, self.permits.mine, refused)
        self.permits.give()
        if seconds is not None:
            self._learn(seconds)
        if self.queue.count:
            now = self._clock()
            if self._left_at:
                self._pace += _PACE * (now - self._left_at - self._pace) if self._pace else now - self._left_at
            self._left_at = now
            self.pump()
        else:
            self._left_at = 0.0
            if self._shared:
                self._ring(NOTHING)

    def pump(self) -> None:
        """Give permits to those whose turn it is."""
        queue = self.queue
        while queue.count and not (self._shared and self._ring(queue.rank)) and self._take():
            call, late = queue.pop(self._clock())
            for each in late:
                each.settle("late")
            if call is None or not call.settle("run"):
                self.permits.give()
        if self._shared:
            self._say()

    def is_worth_it(self, deadline: float | None) -> bool:
        """Whether a call that begins now can be done in time."""
        if deadline is None or not self._mean or self._clock() + self.quickest <= deadline:
            return True
        self._mean *= _DOUBT
        return False

    def retry_after(self, rank: int) -> float:
        """Seconds until as many calls have ended as wait before one of this class, at the pace of the last ones."""
        pace = self._pace or self._mean / max(1, self.permits.mine)
        return (self.queue.ahead(rank) + 1) * pace

    def _take(self) -> bool:
        gradient = self.gradient
        if gradient is None:
            return self.permits.take(self.limit)
        if self.permits.mine >= gradient.limit:
            return False
        return self.permits.take(self.limit)

    def _ring(self, rank: int) -> bool:
        """Whether another worker is to have the next permit, which is then told."""
        rival = self.permits.rival(rank, self._clock())
        if rival is None:
            return False
        self._bell.ring(rival)
        return True

    def _say(self) -> None:
        """Tell the other workers what waits here, and look again soon if anything does."""
        if not self.queue.count:
            self.permits.say(NOTHING, 0.0)
            self._rest()
            return
        self.permits.say(self.queue.rank, self._clock() + BELIEVED)
        if self._unheard is None:
            self._unheard = self._bell.on_ring(self.pump)
        if self._looks is None:
            self._looks = asyncio.get_running_loop().call_later(LOOK, self._look)

    def _look(self) -> None:
        self._looks = None
        self.pump()

    def _rest(self) -> None:
        if self._looks is not None:
            self._looks.cancel()
            self._looks = None
        if self._unheard is not None:
            self._unheard()
            self._unheard = None

    def _learn(self, seconds: float) -> None:
        if not self._mean:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += _DEVIATION * (abs(seconds - self._mean) - self._deviation)
        self._mean += _MEAN * (seconds - self._mean)
