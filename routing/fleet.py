"""What a worker knows of the load of its endpoints: how long a model takes where, and the leases of its requests.

Everything is in seconds. Control reads service times from Triton's own counters and publishes them on the load board;
where it cannot, a worker measures by itself. Either way what is known of an endpoint that gets no more requests fades
to what the model takes elsewhere, so that it is tried again: one bad moment does not close it for ever.
"""

from __future__ import annotations

import math
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
FADE_SECONDS: Final = 8.0
"""Without new measurements, e⁻¹ of the logarithm of the ratio to the typical time is left after so long: what was 250
times slower counts as twice as slow after 17 s, what was 4 times slower after 6 s."""
FADE_REQUESTS: Final = 100.0
"""And no sooner than after so many requests elsewhere for each endpoint that has the model, so that endpoints which are
truly slower get no part of the requests that would show."""
OPTIMISM: Final = 0.985
"""Of the typical time, where fading ends: below it, or an idle endpoint would never be tried while others are idle;
hardly, or others would no longer count as fast (`routing.pickers.expected_wait.AS_FAST`)."""
FADED_TRUST: Final = 2.0
"""How much faster than a figure the trust in it fades, so that the next measurement counts."""
REST_SECONDS: Final = 1.0
"""Before that nothing fades: an endpoint that a request comes to now and then is known well enough."""
MOST_TIMES: Final = 4.0
"""A measurement counts for so many times the longest that was expected at most: others' requests that waited there are
in it, too."""
REMEMBERED_MODELS: Final = 65_536


def fading(seconds: float, requests: float, places: int) -> float:
    """How far a figure fades, in times e, in `seconds` without a measurement while there were `requests` elsewhere."""
    return min(seconds / FADE_SECONDS, requests / (FADE_REQUESTS * max(1, places)))


def faded(seconds: float, typical: float, steps: float) -> float:
    """What is left of a figure that is above the typical one, in times e: geometric, since a first inference may be
    hundreds of times slower than the others."""
    target = OPTIMISM * typical
    return target * float((seconds / target) ** math.exp(-steps)) if seconds > target else seconds


class Mean:
    """An exponentially weighted mean of seconds, of all samples alike while they are few."""

    __slots__ = ("samples", "seconds")

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.samples = 0.0

    def learn(self, seconds: float) -> None:
        """One more sample."""
        self.samples += 1.0
        self.seconds += max(1.0 / self.samples, LEARNING) * (seconds - self.seconds)


class Typical(Mean):
    """What a model takes anywhere, for the endpoint that has not shown it yet. `fastest` is what it takes where it is
    fastest, 0 if not known; `places` is at how many endpoints it was measured."""

    __slots__ = ("fastest", "places")

    def __init__(self) -> None:
        super().__init__(UNKNOWN_SECONDS)
        self.fastest = 0.0
        self.places = 0

    def see(self, seconds: float) -> None:
        """An endpoint takes so long. The least is forgotten slowly, should the fastest endpoint go."""
        fastest = self.fastest
        self.fastest = fastest + FASTEST_LEARNING * (seconds - fastest) if 0.0 < fastest < seconds else seconds


class Measured(Mean):
    """What a model takes at one endpoint, by the measurements of this worker alone. Without new ones it fades to the
    typical time, and so does the trust in it. Then one request tries: until it tells, or as long again, what was known
    counts."""

    __slots__ = ("_learned_at", "_tried_at", "_typical", "_typical_learned", "_typical_tried")

    def __init__(self, typical: Typical, now: float) -> None:
        super().__init__()
        typical.places += 1
        self._typical = typical
        self._learned_at = self._tried_at = now
        self._typical_learned = self._typical_tried = typical.samples

    def at(self, now: float) -> float:
        """The seconds that are expected now."""
        since = now - self._tried_at
        if since <= REST_SECONDS:
            return self.seconds
        typical = self._typical
        steps = fading(since - REST_SECONDS, typical.samples - self._typical_tried, typical.places)
        return faded(self.seconds, typical.seconds, steps)

    def tried(self, now: float) -> None:
        """A request is sent there."""
        self._tried_at = now
        self._typical_tried = self._typical.samples

    def take(self, seconds: float, now: float) -> None:
        """A request took so long, as far as can be told."""
        typical = self._typical
        since = now - self._learned_at
        if since > REST_SECONDS:
            steps = fading(since - REST_SECONDS, typical.samples - self._typical_learned, typical.places)
            self.seconds = faded(self.seconds, typical.seconds, steps)
            self.samples = min(self.samples, 1.0 / LEARNING) * math.exp(-FADED_TRUST * steps)
        if typical.samples > 0.0:
            seconds = min(seconds, MOST_TIMES * max(self.seconds, typical.seconds))
        self.learn(seconds)
        typical.learn(seconds)
        self._learned_at = now
        self._typical_learned = typical.samples
        self.tried(now)


class Fleet:
    """What all endpoints of a worker share: the load board with this worker's part of it, and the clock, that of
    `time.monotonic`. Without a board a worker knows only its own load."""

    __slots__ = ("_typical", "board", "cells", "clock")

    def __init__(
        self, board: LoadBoard | None = None, worker: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.board = board
        self.cells: WorkerBoard | None = None if board is None else board.worker(worker)
        self.clock = clock
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
            now = endpoint.fleet.clock()
            latency = now - self._started
            endpoint.measure(self._key, latency * self.seconds / (self._ahead + self.seconds), now)
