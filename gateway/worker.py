"""The data plane of one worker: listeners, the current snapshot, and the services that answer with it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.build import Builder
from gateway.forwarding import HeaderForwarding
from gateway.guard import Guard
from gateway.hints import Hints, Refresh
from gateway.ingress.edge import Edge
from gateway.ingress.grpc_service import GrpcService
from gateway.ingress.http1 import Http1
from gateway.ingress.http2 import Http2
from gateway.ingress.listener import Listener
from gateway.ingress.rest import RestService
from gateway.key_ring import Ring
from gateway.management import Management
from gateway.policies import Shared
from gateway.signatures import Signatures
from gateway.snapshot import Snapshot
from gateway.store import Store
from gateway.telemetry.metrics import Metrics
from gateway.waiting import Ask, Tell, WaitingRooms
from gateway.world import KeySet, Outcome, Places, World
from policies import Siblings
from routing.fleet import Fleet
from routing.load_board import LoadBoard
from routing.pickers import Tools
from routing.sequence_table import SequenceTable

if TYPE_CHECKING:
    from gateway.ingress.watch import WatchSession

log = logging.getLogger(__name__)

DRAIN_POLL = 0.02
HANDSHAKE_SECONDS = 0.2
"""How long a TCP handshake that has begun may take to complete before a port closes: a round trip."""
LAST_SHARE = 0.2
"""The part of the drain's timeout that is kept for what connected last."""


async def no_control(pool: str, model: str, tell: Tell) -> Outcome:
    """Until a link is there."""
    return Outcome("away", "no control")


class DataPlane:
    """What one worker does for clients. `refresh` asks control to read a pool's inventory again, `load` to load a
    model; `board` is where all workers count what they have in flight, `sequences` where they write down where
    sequences are.

    `draining` fails health while requests are still taken; once `ending`, nothing that lasts is begun.
    """

    def __init__(
        self,
        worker: int,
        metrics: Metrics,
        refresh: Refresh,
        board: LoadBoard | None = None,
        sequences: SequenceTable | None = None,
    ) -> None:
        self.worker = worker
        self.loop = asyncio.get_running_loop()
        self.refresh = refresh
        self.ready = False
        self.draining = False
        self.ending = False
        self.snapshot = Snapshot((), {})
        self.signatures = Signatures()
        self.guard = Guard(self.signatures)
        self.forwarding = HeaderForwarding()
        self.management = Management(self)
        self.watchers: set[WatchSession] = set()
        self._metrics = metrics
        self.load: Ask = no_control
        rooms = WaitingRooms(lambda pool, model, tell: self.load(pool, model, tell), metrics)
        tools = Tools(Fleet(board, worker))
        self.keys = Ring()
        self.store = Store(metrics, f"worker {worker}")
        self._builder = Builder(
            metrics,
            tools=tools,
            sequences=sequences,
            rooms=rooms,
            on_stale=Hints(refresh).stale,
            shared=Shared(self.store, self.keys, _siblings(worker, board), self.signatures.get),
        )
        self._rest = RestService(self)
        self._grpc = GrpcService(self)
        self._listeners: list[Listener] = []

    async def apply(self, world: World) -> None:
        """Serve this world from now on. The first one opens the listeners, which a later one does not change.

        Raises OSError when a port cannot be opened, and ValueError for a header that may not be forwarded.
        """
        self.store.follow(world.config)
        self.snapshot = self._builder.build(world)
        for listener in self._listeners:
            listener.snapshot = self.snapshot.of_listener(listener.config.name)
        self.draining = self.draining or world.draining
        if not self.ready:
            await self.store.settled()
            for config in world.config.listen:
                self.forwarding.prepare(config.forward_headers)
                listener = Listener(config, self._rest, self._grpc, self._metrics)
                listener.snapshot = self.snapshot.of_listener(config.name)
                self._listeners.append(listener)
                await listener.open()
            self.ready = True
        self._tell_watchers()

    def take_keys(self, keys: KeySet) -> None:
        """Know these API keys from now on."""
        self.keys.take(keys)

    def take_places(self, places: Places) -> None:
        """Know which shares of the endpoints are this gateway's own."""
        self._builder.place(places)

    def _tell_watchers(self) -> None:
        for watcher in list(self.watchers):
            watcher.tell()

    @property
    def serving(self) -> bool:
        """Each route has somewhere to go, and nothing is ending."""
        return not self.draining and all(route.serving for route in self.snapshot.routes)

    def report(self) -> None:
        """Set the gauges of a report."""
        gauge = self._metrics.gauge
        for listener in self._listeners:
            name = listener.config.name
            kinds = Counter(map(type, listener.connections))
            for kind in (Edge, Http1, Http2):
                gauge("penstock_connections", (name, kind.__name__.lower())).value = kinds[kind]
            streams = sum(len(each.h2.streams) for each in listener.connections if type(each) is Http2)
            gauge("penstock_streams", (name,)).value = streams
            gauge("penstock_buffered_bytes", (name,)).value = listener.buffered
        self._builder.report()

    async def drain(self, delay: float, timeout: float) -> None:
        """Fail health, go on for `delay` seconds, then let what is in flight finish for at most `timeout` seconds.

        New connections are accepted, for one request each, until all those are gone that were open when draining began.
        Then the port takes no more, and what it has taken is served to the end.
        """
        self.draining = True
        self._tell_watchers()
        await asyncio.sleep(delay)
        self.ending = True
        for watcher in list(self.watchers):
            watcher.end()
        listeners, limit = self._listeners, self.loop.time() + timeout
        old = {listener: set(listener.connections) for listener in listeners}
        for listener in listeners:
            listener.start_draining()
        await self._drained(
            lambda: not any(old[each] & each.connections for each in listeners), limit - LAST_SHARE * timeout
        )
        for listener in listeners:
            listener.stop_handshakes()
        await asyncio.sleep(min(HANDSHAKE_SECONDS, timeout))
        await self._drained(lambda: not any(listener.busy for listener in listeners), limit)
        left = sum(each.requests_in_flight for each in listeners)
        if left:
            log.warning("drain timed out with %d requests in flight", left)

    async def _drained(self, done: Callable[[], bool], limit: float) -> None:
        while not done() and self.loop.time() < limit:
            await asyncio.sleep(DRAIN_POLL)
            for listener in self._listeners:
                listener.sweep()

    async def close(self) -> None:
        """Close listeners, connections and channels."""
        for listener in self._listeners:
            await listener.close()
        await self._builder.aclose()
        await self.store.close()


def _siblings(worker: int, board: LoadBoard | None) -> Siblings:
    """The workers of this node, which share the directory where their load board is."""
    if board is None or board.path is None:
        return Siblings()
    return Siblings(os.path.dirname(board.path), worker, board.workers)
