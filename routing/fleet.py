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
REMEMBERED_MODELS: Final = 65_536


class Typical:
    """What a model takes anywhere, for the endpoint that has not shown it yet, and how fast it is at best, 0 for
    not known."""

    __slots__ = ("fastest", "seconds")

    def __init__(self) -> None:
        self.seconds = UNKNOWN_SECONDS
        self.fastest = 0.0

    def learn(self, seconds: float) -> None:
        """One endpoint's own time. The least is forgotten slowly, should the fastest endpoint go."""
        self.seconds += 0.2 * (seconds - self.seconds) if self.seconds != UNKNOWN_SECONDS else seconds - self.seconds
        fastest = self.fastest
        self.fastest = fastest + 0.01 * (seconds - fastest) if 0.0 < fastest < seconds else seconds


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


class Service:
    """The service time of one (model, version) at one endpoint, in seconds of the endpoint's time for each request."""

    __slots__ = ("_board", "_samples", "_typical", "seconds", "slot")

    def __init__(self, board: LoadBoard | None, slot: int, typical: Typical) -> None:
        self._board = board
        self._typical = typical
        self._samples = 0
        self.slot = slot if board is not None else -1
        self.seconds = 0.0

    def adopt(self, before: Service) -> None:
        """Go on with what another row of the same model had learned."""
        self.seconds = before.seconds
        self._samples = before._samples

    @property
    def measured(self) -> bool:
        """Has this endpoint shown what it takes?"""
        return self._samples > 0

    def published(self) -> float:
        """What control read from the endpoint's counters; 0 when it could not."""
        return self._board.service(self.slot) if self._board is not None and self.slot >= 0 else 0.0

    def expect(self, busy: bool) -> float:
        """Seconds that the next request takes. `busy`: one of this worker's is there already."""
        board = self._board
        if board is not None and self.slot >= 0:
            published = board.service(self.slot)
            if published > 0.0:
                if published != self.seconds:
                    self.seconds = published
                    self._samples = 1
                    self._typical.learn(published)
                return published
        if self._samples:
            return self.seconds
        return self._typical.seconds * (UNMEASURED_PENALTY if busy else 1.0)

    def measure(self, seconds: float) -> None:
        """A request took so much: an exponentially weighted mean, of all samples alike while they are few."""
        self._samples += 1
        self.seconds += max(1.0 / self._samples, LEARNING) * (seconds - self.seconds)
        self._typical.learn(self.seconds)


class Lease:
    """A request's part in the load of an endpoint, from `Endpoint.take` until `release`."""

    __slots__ = ("_ahead", "_endpoint", "_key_slot", "_service", "_slot", "_started", "endpoint", "seconds")

    def __init__(
        self, endpoint: Endpoint, service: Service, seconds: float, slot: int, key_slot: int, ahead: float, now: float
    ) -> None:
        self.endpoint: Endpoint = endpoint
        self.seconds = seconds
        self._endpoint: Endpoint | None = endpoint
        self._service = service
        self._slot = slot
        self._key_slot = key_slot
        self._ahead = ahead
        self._started = now

    def release(self, ok: bool = False) -> None:
        """The request is over, however it ended; again, nothing happens. One that is `ok` tells how long it took: its
        latency over the work that was ahead of it and its own."""
        endpoint = self._endpoint
        if endpoint is None:
            return
        self._endpoint = None
        endpoint.give_back(self.seconds, self._slot, self._key_slot)
        if ok and self._ahead >= 0.0:
            latency = endpoint.fleet.clock() - self._started
            self._service.measure(latency * self.seconds / (self._ahead + self.seconds))
