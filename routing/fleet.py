"""What a worker knows of the load of its endpoints: how long a model takes where, and the leases of its requests.

Everything is in seconds. Control reads service times from Triton's own counters and publishes them on the load board;
where it cannot, a worker measures by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from routing.load_board import LoadBoard, WorkerBoard

if TYPE_CHECKING:
    from routing.endpoint import Endpoint

Key = tuple[str, str]
"""A model and a version, "" for whichever is served."""

UNKNOWN_SECONDS: Final = 0.05
"""Of a model that nothing is known of anywhere."""
UNMEASURED_PENALTY: Final = 2.0
"""A second request waits for the first to tell how fast an endpoint is, unless the others are this much busier."""
LEARNING: Final = 0.05
"""The weight of a new measurement, once there are some: of exponential service times, the estimate is then within
±16 % (one standard deviation, √(a / (2 - a)))."""
FASTEST_LEARNING: Final = 0.001
REMEMBERED_MODELS: Final = 65_536


class Mean:
    """An exponentially weighted mean of seconds, of all samples alike while they are few."""

    __slots__ = ("_samples", "seconds")

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._samples = 0

    def learn(self, seconds: float) -> None:
        """One more sample."""
        self._samples += 1
        self.seconds += max(1.0 / self._samples, LEARNING) * (seconds - self.seconds)


class Typical(Mean):
    """What a model takes anywhere, for the endpoint that has not shown it yet. `fastest` is what it takes where it is
    fastest, 0 if not known."""

    __slots__ = ("fastest",)

    def __init__(self) -> None:
        super().__init__(UNKNOWN_SECONDS)
        self.fastest = 0.0

    def see(self, seconds: float) -> None:
        """An endpoint takes so long. The least is forgotten slowly, should the fastest endpoint go."""
        fastest = self.fastest
        self.fastest = fastest + FASTEST_LEARNING * (seconds - fastest) if 0.0 < fastest < seconds else seconds


class Fleet:
    """What all endpoints of a worker share: the load board with this worker's part of it, and the clock, that of
    `time.monotonic`. Without a board a worker knows only its own load. `offered` sums the seconds of work of all that
    was ever sent."""

    __slots__ = ("_typical", "board", "cells", "clock", "offered")

    def __init__(
        self, board: LoadBoard | None = None, worker: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.board = board
        self.cells: WorkerBoard | None = None if board is None else board.worker(worker)
        self.clock = clock
        self.offered = 0.0
        self._typical: dict[Key, Typical] = {}

    def typical(self, key: Key) -> Typical:
        """The shared time of a model version."""
        found = self._typical.get(key)
        if found is None:
            if len(self._typical) >= REMEMBERED_MODELS:
                self._typical.clear()
            found = self._typical[key] = Typical()
        return found


class Lease:
    """A request's part in the load of an endpoint, from `Endpoint.take` until `release`. `seconds` is the work that it
    stands for; `ahead` is what was there before it, -1 if its time is not to be measured."""

    __slots__ = ("_ahead", "_key", "_key_slot", "_released", "_slot", "_started", "endpoint", "seconds")

    def __init__(
        self, endpoint: Endpoint, key: Key, seconds: float, slot: int, key_slot: int, ahead: float, now: float
    ) -> None:
        self.endpoint = endpoint
        self.seconds = seconds
        self._released = False
        self._key = key
        self._slot = slot
        self._key_slot = key_slot
        self._ahead = ahead
        self._started = now

    def release(self, ok: bool = False) -> None:
        """The request is over, however it ended; again, nothing happens. One that is `ok` tells how long it took: its
        own part of its latency, by the work that was ahead of it."""
        if self._released:
            return
        self._released = True
        endpoint = self.endpoint
        endpoint.give_back(self.seconds, self._slot, self._key_slot)
        if ok and self._ahead >= 0.0:
            latency = endpoint.fleet.clock() - self._started
            endpoint.measure(self._key, latency * self.seconds / (self._ahead + self.seconds))
