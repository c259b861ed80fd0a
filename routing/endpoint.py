"""One backend server: its address, its channel, what control knows of it, and its load as this worker sees it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from routing.fleet import Fleet, Key, Lease, Service

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


Inventory = Mapping[str, Mapping[str, ModelState]]


class Channel(Protocol):
    """Warm connections to one endpoint; `routing.connectors.grpc_h2` is the real one."""

    @property
    def connected(self) -> bool:
        """A request can be written right now."""
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
    both change by `take` and by releasing what it gave. `outcomes` counts how calls ended, by "ok" or whose fault the
    error was. `weight` is the capacity beside others of the pool; after it was down, an endpoint begins with a tenth of
    it and has all of it after `slow_start` seconds.
    """

    __slots__ = (
        "_down",
        "_others",
        "_others_usual",
        "_progress_at",
        "_read_at",
        "_services",
        "_services_before",
        "address",
        "channel",
        "fleet",
        "in_flight",
        "inventory",
        "known",
        "live",
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
        self.outcomes: Counter[str] = Counter()
        self.live = False
        self.known = False
        self.reason = "not polled yet"
        self.inventory: Inventory = {}
        self._services: dict[Key, Service] = {}
        self._services_before: dict[Key, Service] = {}
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
            self._services_before = self._services
            self._services = {}
        return changed

    def _service(self, key: Key) -> Service:
        """What was measured stays for what is asked for again before the next change."""
        slot = self._slot_of(*key)
        service = Service(self.fleet.board, slot, self.fleet.typical(key))
        before = self._services_before.get(key)
        if before is not None:
            service.adopt(before)
        self._services[key] = service
        return service

    def _slot_of(self, model: str, version: str) -> int:
        versions = self.inventory.get(model)
        if not versions:
            return -1
        if not version:
            ready = [name for name, state in versions.items() if state.state == READY]
            if not ready:
                return -1
            version = max(ready, key=lambda name: (name.isdecimal(), int(name) if name.isdecimal() else 0))
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
        board = self.fleet.board
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
        self._others_usual += part * (others - self._others_usual)

    def _others_now(self, age: float) -> float:
        usual = self._others_usual
        memory = DEVIATION_SERVICES * self.usual_service + 1e-9
        deviation = (self._others - usual) * math.exp(-age / memory)
        return CAUTION * max(0.0, usual * math.exp(-age / FORGOTTEN_SECONDS) + deviation)

    def node_in_flight(self) -> int:
        """Requests of all workers of this node in flight here."""
        board = self.fleet.board
        if self.slot < 0 or board is None:
            return self.in_flight
        return max(board.in_flight(self.slot), self.in_flight)

    def crowding(self, now: float) -> float:
        """This node's requests in flight, for each unit of capacity."""
        return self.node_in_flight() / self.capacity(now)

    def service_seconds(self, key: Key) -> float:
        """What a request for `key` takes here, without any wait."""
        service = self._services.get(key)
        if service is None:
            service = self._service(key)
        return service.expect(False)

    def expected_wait(self, key: Key, now: float, part: float = 1.0) -> float:
        """Seconds until a request for `key` that is sent now is answered: the work ahead of it at this endpoint's
        capacity, or at the `part` of it that is this node's, and its own. `now` is that of the fleet's clock."""
        service = self._services.get(key)
        if service is None:
            service = self._service(key)
        return self.work(now) / (self.capacity(now) * part) + service.expect(self.in_flight > 0)

    def take(self, call: Call) -> Lease:
        """Count `call` as load here until the lease is released."""
        key = (call.model, call.version)
        service = self._services.get(key)
        if service is None:
            service = self._service(key)
        seconds = service.expect(self.in_flight > 0)
        now = self.fleet.clock()
        ahead = -1.0 if service.published() > 0.0 else self.work(now)
        usual = self.usual_service
        self.usual_service = usual + 0.05 * (seconds - usual) if usual else seconds
        if not self.in_flight:
            self._progress_at = now
        self.in_flight += 1
        self.seconds += seconds
        self.fleet.offered += seconds
        slot, key_slot = self.slot, service.slot
        cells = self.fleet.cells
        if cells is not None:
            if slot >= 0:
                cells.add(slot, seconds)
            if key_slot >= 0:
                cells.add(key_slot, seconds)
        return Lease(self, service, seconds, slot, key_slot, ahead, now)

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
