"""One backend server: its address, its channel, what control knows of it, and its load as this worker sees it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from routing.fleet import UNMEASURED_PENALTY, Fleet, Key, Lease, Measured

if TYPE_CHECKING:
    from routing.call import Call, Reply
    from routing.connectors.streaming import StreamAttempt, StreamSink

READY = "READY"
FIRST_SHARE: Final = 0.1
"""What an endpoint that comes back begins with (as Envoy's slow start, `min_weight_percent`)."""
MOST_DONE: Final = 0.2
"""Of the request that is being served, how much is counted as done at most: all of it would be right only if service
times did not vary."""
OVERDUE_SERVICES: Final = 3.0
"""An endpoint that gave no answer for so much longer than all its work should take is stuck, and looks worse by the
second."""
CAUTION: Final = 1.3
"""Seconds of others' work count so much more than own ones: they are an average, and what is waited for is the tail."""
DEVIATION_SERVICES: Final = 0.5
"""After so many service times, e⁻¹ is left of what a scraped queue was above or below its usual length."""
REMEMBERED_MODELS: Final = 4096
MOST_USUAL: Final = 4.0
"""In services: more of others' work than that is a burst, which passes, and is not usual."""
USUAL_SECONDS: Final = 1.0
"""Over how long the usual work of others is averaged."""
FORGOTTEN_SECONDS: Final = 3.0
"""Without a new scrape, e⁻¹ of others' usual work is left after so long."""


class ModelState(Protocol):
    """The state of one model version on one endpoint: READY, LOADING, UNLOADING, UNAVAILABLE or UNKNOWN."""

    @property
    def state(self) -> str:
        """Triton's name of the state."""
        ...

    @property
    def reason(self) -> str:
        """Triton's own words, "" when there is nothing to say."""
        ...

    @property
    def slot(self) -> int:
        """Its row of the load board, -1 for none."""
        ...

    @property
    def load(self) -> int:
        """What tells this load of it from all others."""
        ...


Inventory = Mapping[str, Mapping[str, ModelState]]


class Channel(Protocol):
    """Warm connections to one endpoint; `routing.connectors.grpc_h2` is the real one."""

    @property
    def connected(self) -> bool:
        """A request can be written right now."""
        ...

    def hurry(self) -> None:
        """Connect soon: the endpoint is known to be back."""
        ...

    def unary(self, call: Call) -> Awaitable[Reply]:
        """Send one message, get one back."""
        ...

    async def stream(
        self, path: bytes, sink: StreamSink, *, metadata: bytes = b"", deadline: float | None = None
    ) -> StreamAttempt:
        """Open a stream whose messages go to `sink`."""
        ...


class Endpoint:
    """An address with live load, inventory and health.

    `in_flight` counts what this worker sent and did not get back, and `seconds` is the work that it expects of that;
    both change by `take` and by releasing what it gave. `offered` sums the work of all that was ever sent. `outcomes`
    counts how calls ended, by "ok" or whose fault the error was. `weight` is the capacity beside others of the pool;
    after it was down, an endpoint begins with a tenth of it and has all of it after `slow_start` seconds.
    """

    __slots__ = (
        "_board",
        "_down",
        "_measured",
        "_newest",
        "_others",
        "_others_usual",
        "_progress_at",
        "_read_at",
        "address",
        "channel",
        "fleet",
        "in_flight",
        "inventory",
        "known",
        "live",
        "offered",
        "outcomes",
        "reason",
        "seconds",
        "slot",
        "slow_start",
        "usual_service",
        "warm_at",
        "weight",
    )

    def __init__(self, address: str, channel: Channel, fleet: Fleet | None = None, *, slow_start: float = 0.0) -> None:
        self.address = address
        self.channel = channel
        self.fleet: Fleet = fleet if fleet is not None else Fleet()
        self.slow_start = slow_start
        self.weight = 1.0
        self.slot = -1
        self.in_flight = 0
        self.seconds = 0.0
        self.offered = 0.0
        self.outcomes: Counter[str] = Counter()
        self.live = False
        self.known = False
        self.reason = "not polled yet"
        self.inventory: Inventory = {}
        self._board = self.fleet.board
        self._measured: dict[Key, Measured] = {}
        self._newest: dict[str, str] = {}
        self._down = False
        self.warm_at = 0.0
        self._read_at = 0.0
        self._progress_at = 0.0
        self._others = 0.0
        self._others_usual = 0.0
        self.usual_service = 0.0

    def serves(self, model: str, version: str) -> bool:
        """Is (model, version) READY here? Any version when `version` is ""; yes while the inventory is not known."""
        if not self.known:
            return True
        versions = self.inventory.get(model)
        if not versions:
            return False
        if version:
            state = versions.get(version)
            return state is not None and state.state == READY
        return any(state.state == READY for state in versions.values())

    # what control says ------------------------------------------------------------------------------------------------

    def learn(
        self, live: bool, known: bool, reason: str, inventory: Inventory, slot: int = -1, weight: float = 1.0
    ) -> bool:
        """What control knows. True if that changes who may take a request, or how endpoints compare. One that is live
        after it was said not to be begins slowly; at the first word of it nothing is known of a time before."""
        before = (self.live, self.known, self.inventory, self.slot, self.weight)
        if live and self._down:
            self.warm_at = self.fleet.clock() + self.slow_start
        self._down = not live
        self.live, self.known, self.reason = live, known, reason
        self.inventory, self.slot, self.weight = inventory, slot, weight
        changed = before != (live, known, inventory, slot, weight)
        if changed:
            self._newest.clear()
        return changed

    def row(self, key: Key) -> int:
        """The slot of (model, version), of the newest that is READY for version ""; -1 if there is none."""
        model, version = key
        versions = self.inventory.get(model)
        if versions is None:
            return -1
        if not version:
            known = self._newest.get(model)
            if known is None:
                known = self._newest[model] = newest(versions)
            version = known
        state = versions.get(version)
        return -1 if state is None else state.slot

    # load -------------------------------------------------------------------------------------------------------------

    def capacity(self, now: float) -> float:
        """The weight, less than that in slow start: linear from a tenth (Envoy's slow start with aggression 1)."""
        if now >= self.warm_at:
            return self.weight
        return self.weight * max(FIRST_SHARE, 1.0 - (self.warm_at - now) / self.slow_start)

    def work(self, now: float) -> float:
        """Seconds of work there: this node's in flight, and others' as far as the last scrape still tells."""
        slot = self.slot
        own = self.seconds
        board = self._board
        if slot < 0 or board is None:
            return own
        shared = board.seconds(slot)
        if shared > own:
            own = shared
        if self.in_flight:
            own = self._left(own, now - self._progress_at)
        at = board.at(slot)
        if at != self._read_at:
            self._read(at, board.foreign(slot))
        if self._others_usual == 0.0 and self._others == 0.0:
            return own
        return own + self._others_now(now - at)

    def _left(self, own: float, since: float) -> float:
        """Of `own` seconds of work, what is left `since` seconds after the last answer, or after the first request."""
        usual = self.usual_service
        if since > own + OVERDUE_SERVICES * usual:
            return since - OVERDUE_SERVICES * usual
        return max(0.0, own - min(since, MOST_DONE * usual))

    def _read(self, at: float, others: float) -> None:
        """A new scrape."""
        part = 1.0 - math.exp(-(at - self._read_at) / USUAL_SECONDS) if at > self._read_at else 1.0
        self._read_at = at
        self._others = others
        most = MOST_USUAL * self.usual_service
        if others > most > 0.0:
            others = most
        self._others_usual += part * (others - self._others_usual)

    def _others_now(self, age: float) -> float:
        """What is to be expected of them, but no less than what is left of what they had: an endpoint gets no more done
        in a second than a second of work."""
        usual = self._others_usual
        memory = DEVIATION_SERVICES * self.usual_service + 1e-9
        deviation = (self._others - usual) * math.exp(-age / memory)
        expected = CAUTION * max(0.0, usual * math.exp(-age / FORGOTTEN_SECONDS) + deviation)
        left = self._others - age
        return left if left > expected else expected

    def node_in_flight(self) -> int:
        """Requests of all workers of this node in flight here."""
        board = self._board
        if self.slot < 0 or board is None:
            return self.in_flight
        return max(board.in_flight(self.slot), self.in_flight)

    def crowding(self, now: float) -> float:
        """This node's requests in flight, for each unit of capacity."""
        return self.node_in_flight() / self.capacity(now)

    def service_seconds(self, key: Key, now: float) -> float:
        """What a request for `key` takes here, without any wait: as published, as measured, or as elsewhere."""
        board = self._board
        if board is not None:
            slot = self.row(key)
            if slot >= 0:
                published = board.service(slot)
                if published > 0.0:
                    return published
        measured = self._measured.get(key)
        if measured is not None:
            return measured.at(now)
        seconds = self.fleet.typical(key).seconds
        return seconds * UNMEASURED_PENALTY if self.in_flight else seconds

    def ahead(self, now: float, part: float = 1.0) -> float:
        """Seconds until what is sent now is begun: the work there at this endpoint's capacity, or at the `part` of it
        that is this node's."""
        work = self.work(now)
        return work / (self.capacity(now) * part) if work > 0.0 else 0.0

    def expected_wait(self, key: Key, now: float) -> float:
        """Seconds until a request for `key` that is sent now is answered. `now` is that of the fleet's clock."""
        return self.ahead(now) + self.service_seconds(key, now)

    def take(self, call: Call) -> Lease:
        """Count `call` as load here until the lease is released."""
        key = (call.model, call.version)
        fleet, slot, key_slot = self.fleet, self.slot, self.row(key)
        now = fleet.clock()
        seconds = self._board.service(key_slot) if self._board is not None and key_slot >= 0 else 0.0
        if seconds > 0.0:
            ahead = -1.0
            fleet.typical(key).learn(seconds)
        else:
            ahead = self.work(now)
            seconds = self.service_seconds(key, now)
            measured = self._measured.get(key)
            if measured is not None:
                measured.tried(now)
        usual = self.usual_service
        self.usual_service = usual + 0.05 * (seconds - usual) if usual else seconds
        if not self.in_flight:
            self._progress_at = now
        self.in_flight += 1
        self.seconds += seconds
        self.offered += seconds
        cells = fleet.cells
        if cells is not None:
            if slot >= 0:
                cells.add(slot, seconds)
            if key_slot >= 0:
                cells.add(key_slot, seconds)
        return Lease(self, key, seconds, slot, key_slot, ahead, now)

    def measure(self, key: Key, seconds: float, now: float) -> None:
        """A request took so much of this endpoint's time."""
        measured = self._measured.get(key)
        if measured is None:
            if len(self._measured) >= REMEMBERED_MODELS:
                self._measured.clear()
            measured = self._measured[key] = Measured(self.fleet.typical(key), now)
        measured.take(seconds, now)

    def give_back(self, seconds: float, slot: int, key_slot: int) -> None:
        """For `Lease.release` alone."""
        self._progress_at = self.fleet.clock()
        left = self.in_flight - 1
        self.in_flight = left
        self.seconds = self.seconds - seconds if left else 0.0
        cells = self.fleet.cells
        if cells is not None:
            if slot >= 0:
                cells.remove(slot, seconds)
            if key_slot >= 0:
                cells.remove(key_slot, seconds)

    def __repr__(self) -> str:
        health = "live" if self.live else f"down: {self.reason}"
        return f"<Endpoint {self.address} {health}, {self.in_flight} in flight>"


def newest(versions: Mapping[str, ModelState]) -> str:
    """The version that Triton takes for a request without one: the highest that is READY; "" for none."""
    ready = [version for version, state in versions.items() if state.state == READY]
    return max(ready, key=lambda name: (name.isdecimal(), int(name) if name.isdecimal() else 0), default="")
