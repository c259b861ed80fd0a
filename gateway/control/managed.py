"""A pool whose Tritons the gateway runs itself: a source of endpoints (`routing.discovery.Source`).

Only a Triton that is ready is an endpoint. One that ends leaves the endpoints at once and comes back when another runs
in its place; the rest of the pool does not notice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec

from config.schema import Endpoint, Pool
from gateway.control.launch import Launch
from gateway.control.poller import Client
from gateway.control.replica import Cause, Replica
from gateway.control.triton import TritonClient
from gateway.control.triton_process import Place, TritonProcess
from gateway.telemetry.metrics import Metrics

TRIM_INTERVAL = 1.0
STATES = ("starting", "ready", "draining", "down", "crash_loop")

_log = logging.getLogger(__name__)


class Ground(msgspec.Struct, frozen=True):
    """Where processes are kept: directories for their records and logs, the descriptor of the lifeline, and ports that
    others of the gateway will open."""

    records: str
    logs: str
    lifeline: int
    reserved: frozenset[int] = frozenset()


async def nothing_to_do(address: str) -> None:
    """For a pool that has no models to load, or whose users need not be waited for."""


class ManagedPool:
    """The Tritons of one pool. `run` it; `apply` a changed configuration; then `stop` them, or `let_go` of them.

    `prepared` is awaited before a Triton takes over from another: its desired models are loaded then, or `StartError`.
    `left` is awaited after one left the endpoints: nobody uses it then.
    """

    def __init__(
        self,
        name: str,
        pool: Pool,
        ground: Ground,
        metrics: Metrics,
        *,
        client: Callable[[str], Client] = TritonClient,
        prepared: Callable[[str], Awaitable[None]] = nothing_to_do,
        left: Callable[[str], Awaitable[None]] = nothing_to_do,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.rolling = asyncio.Lock()
        self.client = client
        self.clock = clock
        self.prepared = prepared
        self.left = left
        self._ground = ground
        self._metrics = metrics
        self._changed: Callable[[], None] = lambda: None
        self._group: asyncio.TaskGroup | None = None
        self._replicas: dict[int, Replica] = {}
        self._pool = pool
        self._set(pool)

    # A source of endpoints

    @property
    def failure(self) -> str:
        """What is wrong with its replicas."""
        return "; ".join(self.troubles())

    def current(self) -> tuple[Endpoint, ...]:
        """Those that are ready."""
        return tuple(process.endpoint for process in self._serving())

    async def run(self, changed: Callable[[], None]) -> None:
        """Keep them running until cancelled, which leaves them as they are; `changed` is called when `current` did."""
        self._changed = changed
        try:
            async with asyncio.TaskGroup() as self._group:
                for replica in self._replicas.values():
                    self._keep(replica)
                self.changed()
                await self._trim_forever()
        finally:
            self._group = None

    # Changes and the end

    def apply(self, pool: Pool) -> None:
        """Have it as this says from now on: more or fewer replicas, and each one whose launch changed replaced in turn,
        without a gap."""
        before = set(self._replicas)
        self._pool = pool
        self._set(pool)
        for number in self._replicas.keys() - before:
            self._keep(self._replicas[number])

    async def stop(self, grace: float) -> None:
        """End all, at most `grace` seconds from now; `run` must have ended."""
        await asyncio.gather(*(replica.stop(grace) for replica in self._replicas.values()))
        self._replicas.clear()

    def let_go(self) -> None:
        """Leave them to the control that comes next; `run` must have ended."""
        for replica in self._replicas.values():
            replica.let_go()
        self._replicas.clear()

    # What others ask

    def troubles(self) -> list[str]:
        """What is wrong with its replicas, one sentence each."""
        return [trouble for replica in self._replicas.values() if (trouble := replica.trouble())]

    def states(self) -> dict[int, str]:
        """The state of each replica, one of `STATES`, by its number."""
        return {
            number: "crash_loop" if replica.crash_loop and replica.serving is None else replica.state
            for number, replica in self._replicas.items()
        }

    def describe(self) -> list[dict[str, Any]]:
        """Its replicas, for `GET /v1/fleet`. `last_end` is why one ended last; `reason` is what is wrong now; null if
        there is no such."""
        states = self.states()
        return [
            {
                "replica": number,
                "state": states[number],
                "endpoint": replica.serving.address if replica.serving is not None else None,
                "pid": replica.serving.pid if replica.serving is not None else None,
                "ends": replica.ends,
                "last_end": replica.last_end or None,
                "reason": replica.reason or None,
            }
            for number, replica in sorted(self._replicas.items())
        ]

    def polled(self, address: str, live: bool) -> None:
        """A poll of the endpoint at this address ended."""
        for replica in self._replicas.values():
            if replica.serving is not None and replica.serving.address == address:
                replica.polled(live)

    def memory_of(self, address: str) -> int | None:
        """Bytes of main memory of the Triton at this address; None if there is none."""
        for process in self._serving():
            if process.address == address:
                return process.memory()
        return None

    # What replicas ask: gateway.control.replica.Host

    def place(self, replica: int, generation: int) -> Place:
        """The files of a replica's process."""
        file = f"{self.name}-{replica}-{generation}"
        record, log = os.path.join(self._ground.records, file), os.path.join(self._ground.logs, f"{file}.log")
        return Place(record, log, self._ground.lifeline)

    def taken_ports(self) -> Collection[int]:
        """Ports that processes of this pool have, or others of the gateway will."""
        return self._ground.reserved | {
            port for each in self._replicas.values() for process in each.processes for port in process.ports
        }

    def restarted(self, replica: int, cause: Cause) -> None:
        """Count a Triton that ended by itself, did not come up, or hung."""
        self._metrics.counter("penstock_managed_ends_total", (self.name, str(replica), cause)).value += 1

    def changed(self) -> None:
        """Show the states in the metrics, and have the endpoints looked at."""
        counts = Counter(self.states().values())
        for state in STATES:
            self._metrics.gauge("penstock_managed_replicas", (self.name, state)).value = counts[state]
        self._changed()

    # Parts

    def _serving(self) -> list[TritonProcess]:
        return [process for replica in self._replicas.values() if (process := replica.serving) is not None]

    def _set(self, pool: Pool) -> None:
        managed = pool.managed
        assert managed is not None, f"pool {self.name} is not managed"
        for number in range(managed.replicas):
            launch = Launch.of(managed, pool.models, number)
            if number in self._replicas:
                self._replicas[number].wish(launch, managed)
            else:
                self._replicas[number] = Replica(self, number, launch, managed)
        for number in list(self._replicas):
            if number >= managed.replicas:
                self._replicas[number].leave()

    def _keep(self, replica: Replica) -> None:
        if self._group is not None:
            self._group.create_task(self._kept(replica), name=f"{self.name} replica {replica.number}")

    async def _kept(self, replica: Replica) -> None:
        await replica.keep()
        if self._replicas.get(replica.number) is replica:
            del self._replicas[replica.number]
            self.apply(self._pool)  # it may be wanted again meanwhile
        self.changed()

    async def _trim_forever(self) -> None:
        while True:
            await asyncio.sleep(TRIM_INTERVAL)
            for process in [each for replica in self._replicas.values() for each in replica.processes]:
                try:
                    process.log.trim()
                except OSError as error:
                    _log.warning("cannot rotate a log", extra={"log": process.log.path, "reason": str(error)})
