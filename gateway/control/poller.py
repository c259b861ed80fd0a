"""When endpoints are polled: each at its interval with jitter, at once on demand, never many at a time.

Liveness each time. The repository's index too, unless a metrics page tells when models come and go: then when it does,
on demand, while a model loads or unloads, and now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from config.schema import Endpoint, Pool
from gateway.control.inventory import Inventory, Poll
from gateway.control.load_records import LoadRecords
from gateway.control.pace import on_grid
from gateway.control.triton import TritonClient
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState
from routing.discovery import Source, source_of

CONCURRENT_POLLS = 128
JITTER = 0.1
"""The share of an interval by which it varies, so that polls of many endpoints and gateways spread out."""
SHORTEST_GAP = 0.05
"""Seconds between two polls of one endpoint, however often clients make a refresh necessary: an index reads the
repository's directories, which is slow on an object store."""
HEARTBEAT = 10.0
"""Seconds from one index to the next of an endpoint whose metrics page tells when models come and go. It does not tell
when one failed to load."""

FIRST_ANSWER = 5.0
"""Seconds that workers wait at most, at the start, for a source to say where the endpoints of its pool are."""
CLOSED = sys.maxsize

_log = logging.getLogger(__name__)


class Client(Protocol):
    """What polls an endpoint."""

    async def poll(self, timeout: float) -> Poll:
        """Ask for liveness and the index, within `timeout` seconds a call."""

    async def live(self, timeout: float) -> Poll:
        """Ask for liveness alone."""

    async def close(self) -> None:
        """Let go of the connection."""


class EndpointPoller:
    """Polls one endpoint of one pool until closed, and calls `changed` when the workers need to know. `paged` says
    whether its metrics page tells when models come and go, which it does not of one that is loaded again in its place:
    an endpoint that is `watched` for that is asked for its index all the same, and what it says kept in `records`."""

    def __init__(
        self,
        pool: str,
        endpoint: Endpoint,
        settings: Pool,
        client: Client,
        slots: asyncio.Semaphore,
        changed: Callable[[], None],
        metrics: Metrics,
        paged: Callable[[str], bool],
        polled: Callable[[str, str, bool], None],
        watched: bool = False,
        records: LoadRecords | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.inventory = Inventory(endpoint.address, settings.readiness)
        self._pool = pool
        self._readiness = settings.readiness
        self._client = client
        self._slots = slots
        self._changed = changed
        self._paged = paged
        self._told = polled
        self._watched = watched
        self._records = records if watched else None
        self._index_due = 0.0
        labels = (pool, endpoint.address)
        self._ready = metrics.gauge("penstock_endpoint_ready", labels)
        self._good = metrics.counter("penstock_endpoint_polls_total", (*labels, "ok"))
        self._bad = metrics.counter("penstock_endpoint_polls_total", (*labels, "failed"))
        self._begun = 0
        self._ended = 0
        self._wanted = asyncio.Event()
        self._end = asyncio.Condition()

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            if self._records is not None:
                self.inventory.remember(await self._records.read(self.endpoint.address))
            while True:
                await self._round()
                now = asyncio.get_running_loop().time()
                await asyncio.sleep(on_grid(now + SHORTEST_GAP) - now)
                await self._wait_interval(now)
        finally:
            self._ready.value = 0
            async with self._end:
                self._ended = CLOSED  # nobody waits for a poll that does not come
                self._end.notify_all()
            await self._client.close()

    async def polled(self) -> None:
        """Return when a poll that begins from now on has ended."""
        number = self._begun + 1
        self._wanted.set()
        async with self._end:
            await self._end.wait_for(lambda: self._ended >= number)

    def reloaded(self, model: str) -> None:
        """Somebody had this model loaded there, and it is."""
        self.inventory.reloaded(model)

    def hint(self) -> None:
        """Something may have changed: poll soon."""
        self._wanted.set()

    async def first(self) -> None:
        """Return when there was a poll."""
        async with self._end:
            await self._end.wait_for(lambda: self._ended > 0)

    async def _wait_interval(self, since: float) -> None:
        interval = self._readiness.interval * random.uniform(1 - JITTER, 1 + JITTER)
        try:
            async with asyncio.timeout_at(on_grid(since + interval)):
                await self._wanted.wait()
        except TimeoutError:
            pass  # the interval is over

    async def _round(self) -> None:
        async with self._slots:
            self._begun += 1
            poll = await self._poll(self._wanted.is_set())
        self._take(poll)
        async with self._end:
            self._ended = self._begun
            self._end.notify_all()

    async def _poll(self, asked: bool) -> Poll:
        self._wanted.clear()
        now = asyncio.get_running_loop().time()
        may_skip = self.inventory.settled and not self._watched and self._paged(self.endpoint.address)
        if not asked and now < self._index_due and may_skip:
            poll = await self._client.live(self._readiness.timeout)
            if not (poll.live and poll.renewed):
                return poll
        poll = await self._client.poll(self._readiness.timeout)
        self._index_due = now + HEARTBEAT if poll.models is not None else 0.0
        return poll

    def _take(self, poll: Poll) -> None:
        before = self.inventory.state
        changed = self.inventory.observe(poll)
        state = self.inventory.state
        if self._records is not None:
            self._records.note(state, self.inventory.used)
        (self._good if poll.live else self._bad).value += 1
        self._ready.value = int(state.live)
        if before.live != state.live or (self._ended == 0 and not state.live):
            _log.log(
                logging.INFO if state.live else logging.WARNING,
                "endpoint is live" if state.live else "endpoint is not live",
                extra={"pool": self._pool, "endpoint": state.address, "reason": poll.reason},
            )
        if changed:
            self._changed()
        self._told(self._pool, state.address, poll.live)


class PoolPollers:
    """The pollers of one pool, which follow its source. `made` gives the poller of an endpoint."""

    def __init__(
        self, name: str, source: Source, made: Callable[[Endpoint], EndpointPoller], changed: Callable[[], None]
    ) -> None:
        self.pollers: tuple[EndpointPoller, ...] = ()
        self.source = source
        self._name = name
        self._made = made
        self._changed = changed
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[EndpointPoller, asyncio.Task[None]] = {}
        self._heard = asyncio.Event()
        self._follow()

    async def run(self) -> None:
        """Follow and poll until cancelled. Raises what a poller or the source raised, a bug."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for poller in self.pollers:
                    self._start(poller)
                await self.source.run(self._moved)
        finally:
            self._group = None
            self._tasks.clear()

    async def first(self) -> None:
        """Return when each endpoint that its source knew first was polled once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER):
                await self._heard.wait()
        await asyncio.gather(*(poller.first() for poller in self.pollers))

    def _moved(self) -> None:
        before = [poller.endpoint for poller in self.pollers]
        self._follow()
        self._heard.set()
        if before != [poller.endpoint for poller in self.pollers]:
            self._changed()

    def _follow(self) -> None:
        known = {poller.endpoint.address: poller for poller in self.pollers}
        followed = []
        for endpoint in self.source.current():
            poller = known.pop(endpoint.address, None)
            if poller is None:
                poller = self._made(endpoint)
                self._start(poller)
            poller.endpoint = endpoint
            followed.append(poller)
        for poller in known.values():
            self._stop(poller)
        self.pollers = tuple(followed)

    def _start(self, poller: EndpointPoller) -> None:
        if self._group is not None:
            self._tasks[poller] = self._group.create_task(poller.run(), name=f"poller of {poller.endpoint.address}")

    def _stop(self, poller: EndpointPoller) -> None:
        task = self._tasks.pop(poller, None)
        if task is not None:
            _log.info("endpoint is gone", extra={"pool": self._name, "endpoint": poller.endpoint.address})
            task.cancel()


class Pollers:
    """The pollers of all pools. An endpoint in two pools is polled for each, by that pool's settings. `sources` are
    those of the pools that do not say themselves where their endpoints are. `polled` is told how each poll ended: pool,
    address, and whether the server was live. `watched` names the pools of which it matters when a model is loaded
    again, which `records` remember."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        changed: Callable[[], None],
        metrics: Metrics,
        client: Callable[[str], Client] = TritonClient,
        paged: Callable[[str], bool] = lambda address: False,
        sources: Mapping[str, Source] | None = None,
        polled: Callable[[str, str, bool], None] = lambda pool, address, live: None,
        watched: Collection[str] = (),
        records: LoadRecords | None = None,
    ) -> None:
        slots = asyncio.Semaphore(CONCURRENT_POLLS)

        def follow(name: str, pool: Pool) -> PoolPollers:
            def made(one: Endpoint) -> EndpointPoller:
                return EndpointPoller(
                    *(name, one, pool, client(one.address), slots, changed, metrics, paged, polled),
                    *(name in watched, records),
                )

            return PoolPollers(name, (sources or {}).get(name) or source_of(pool), made, changed)

        self._pools = {name: follow(name, pool) for name, pool in pools.items()}

    async def run(self) -> None:
        """Poll until cancelled. Raises if a poller failed, a bug: better a new control than a silent endpoint."""
        async with asyncio.TaskGroup() as group:
            for name, pool in self._pools.items():
                group.create_task(pool.run(), name=f"endpoints of {name}")

    async def first(self) -> None:
        """Return when each endpoint that is known was polled once: within its timeouts."""
        await asyncio.gather(*(pool.first() for pool in self._pools.values()))

    async def refresh(self, pool: str, address: str = "", loaded: str = "") -> None:
        """Poll each endpoint of `pool` now, or the one with this address. An unknown pool has none. A model that was
        `loaded` there is another load, even if nothing else shows it."""
        known = self._pools.get(pool)
        pollers = known.pollers if known is not None else ()
        wanted = [poller for poller in pollers if address in ("", poller.endpoint.address)]
        if loaded:
            for poller in wanted:
                poller.reloaded(loaded)
        await asyncio.gather(*(poller.polled() for poller in wanted))

    def hint(self, address: str) -> None:
        """Something may have changed at this endpoint: poll it soon, in each pool."""
        for pool in self._pools.values():
            for poller in pool.pollers:
                if poller.endpoint.address == address:
                    poller.hint()

    def endpoints(self) -> dict[str, tuple[Endpoint, ...]]:
        """Each pool's endpoints, in the same order as `states`."""
        return {name: tuple(poller.endpoint for poller in pool.pollers) for name, pool in self._pools.items()}

    def states(self) -> dict[str, tuple[EndpointState, ...]]:
        """Each pool's endpoints as of now, in the order of its source."""
        return {name: tuple(poller.inventory.state for poller in pool.pollers) for name, pool in self._pools.items()}

    def failures(self) -> dict[str, str]:
        """Why the source of a pool cannot find out where its endpoints are, for those that cannot."""
        return {name: pool.source.failure for name, pool in self._pools.items() if pool.source.failure}
