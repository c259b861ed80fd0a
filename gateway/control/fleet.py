"""The live state of all endpoints: their rows of the load board, and their metrics pages, read once for all workers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, KeysView, Mapping
from time import monotonic, process_time
from typing import NamedTuple, Protocol

import msgspec

from config.schema import Endpoint, Pool
from gateway.control.entry import Entry, Source
from gateway.control.load import Shape
from gateway.control.metrics_page import Key
from gateway.control.pace import Budget
from gateway.control.page_client import PageClient
from gateway.control.scraper import Client, Scraper
from gateway.control.slots import Slots
from gateway.control.triton import TritonClient
from gateway.control.typical import Typicals
from gateway.tasks import spawn
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState
from routing.load_board import LoadBoard

CONCURRENT_PAGES = 64
LOOK_AROUND = 0.1
"""Seconds from one look at the board for endpoints that are scraped rarely and have begun to work."""
CONFIGURATION_TIMEOUT = 2.0
CONFIGURATION_PAUSE = 2.0
"""Seconds until an endpoint is asked again for configurations of models: few at a time, as they come into use."""
CONFIGURATIONS = 8

_log = logging.getLogger(__name__)

Members = Mapping[str, tuple[Endpoint, ...]]
States = Mapping[str, tuple[EndpointState, ...]]


class Place(NamedTuple):
    """An endpoint as a member of one pool."""

    pool: str
    position: int
    endpoint: Endpoint
    state: EndpointState


class Configurations(Protocol):
    """What tells how a model executes: `TritonClient`."""

    async def shape(self, model: str, version: str, timeout: float) -> Shape | None:
        """None if it is not known."""

    async def close(self) -> None:
        """Let go of the connection."""


class Fleet:
    """All endpoints of all pools. `moved` is called with the address of an endpoint whose page has other models than
    before, or is gone. Scrapers live in the event loop that `run` runs in."""

    def __init__(
        self,
        board: LoadBoard,
        slots: Slots,
        metrics: Metrics,
        moved: Callable[[str], None],
        pages: Callable[[str, str], Client] = PageClient,
        configurations: Callable[[str], Configurations] = TritonClient,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.board = board
        self.entries: dict[str, Entry] = {}
        self._slots = slots
        self._metrics = metrics
        self._moved = moved
        self._pages = pages
        self._configurations = configurations
        self._clock = clock
        self._turns = asyncio.Semaphore(CONCURRENT_PAGES)
        self._budget = Budget()
        self._typicals = Typicals()
        self._without: set[str] = set()
        self._failure: BaseException | None = None

    def sync(self, pools: Mapping[str, Pool], members: Members, states: States) -> dict[str, tuple[EndpointState, ...]]:
        """Take over who is in the pools and what the polls say; returns that with rows and weights."""
        places: dict[str, list[Place]] = defaultdict(list)
        for name, endpoints in members.items():
            for position, (endpoint, state) in enumerate(zip(endpoints, states[name], strict=True)):
                places[endpoint.address].append(Place(name, position, endpoint, state))
        self._drop(places.keys())
        told = {name: list(states[name]) for name in members}
        for address, where in places.items():
            for place, state in self._take(address, where):
                told[place.pool][place.position] = state
        self._read_pages(sources(pools, places), places.keys())
        self._slots.keep()
        return {name: tuple(each) for name, each in told.items()}

    def _take(self, address: str, where: list[Place]) -> Iterator[tuple[Place, EndpointState]]:
        entry = self.entries.get(address)
        if entry is None:
            entry = self.entries[address] = Entry(address, self._slots, self.board)
        live = any(place.state.live for place in where)
        if live and not entry.live and entry.scraper is not None:
            entry.scraper.wake()
        entry.live = live
        for place, models in zip(where, entry.take([place.state.models for place in where]), strict=True):
            weight = place.endpoint.weight
            yield place, msgspec.structs.replace(place.state, models=models, slot=entry.slot, weight=weight)

    def _drop(self, wanted: KeysView[str]) -> None:
        """Let go of the endpoints that are in no pool any more, also of those that a control before this one knew."""
        for address in self.entries.keys() - wanted:
            entry = self.entries.pop(address)
            self._stop(entry)
        for owner in self._slots.owners():
            if owner[0] not in wanted:
                self._slots.release(owner)

    def gpu_memory(self, address: str) -> int | None:
        """Bytes that are taken of the GPUs that an endpoint tells of; None if it tells of none."""
        entry = self.entries.get(address)
        used = [gpu.memory_used for gpu in entry.gpus if gpu.memory_used >= 0] if entry is not None else []
        return round(sum(used)) if used else None

    # the pages

    def paged(self, address: str) -> bool:
        """Does the page of this endpoint tell, now, which models it has?"""
        entry = self.entries.get(address)
        return entry is not None and entry.scraper is not None and entry.scraper.healthy

    async def run(self) -> None:
        """Wake the scrapers of endpoints that begin to work, until cancelled; then stop reading pages. Raises what a
        scraper raised, a bug: better a new control than an endpoint whose load nobody knows."""
        try:
            settled = monotonic(), process_time()
            while self._failure is None:
                now = monotonic(), process_time()
                self._budget.settle(max(now[0] - settled[0], LOOK_AROUND / 2), now[1] - settled[1])
                settled = now
                for entry in self.entries.values():
                    if entry.scraper is not None and entry.scraper.quiet and entry.busy:
                        entry.scraper.wake()
                await asyncio.sleep(LOOK_AROUND)
            raise self._failure
        finally:
            ending = [entry.task for entry in self.entries.values() if entry.task is not None]
            for entry in self.entries.values():
                self._stop(entry)
            await asyncio.gather(*ending, return_exceptions=True)

    def _read_pages(self, found: Mapping[str, Source], wanted: KeysView[str]) -> None:
        if without := wanted - found.keys() - self._without:
            text = "these endpoints would have one metrics page, so none is read: say `metrics` for each"
            _log.warning(text, extra={"endpoints": sorted(without)})
        self._without = wanted - found.keys()
        for address, entry in self.entries.items():
            source = found.get(address)
            if source != entry.source:
                self._stop(entry)
                entry.source = source
                if source is not None:
                    self._start(entry, source)

    def _start(self, entry: Entry, source: Source) -> None:
        def taken(touched: set[Key], now: float, other: bool) -> None:
            entry.publish(touched, now)
            if other:
                self._moved(entry.address)
            self._configure(entry)

        entry.scraper = Scraper(
            entry.address,
            source.settings,
            self._pages(source.address, source.settings.path),
            entry.own,
            taken,
            lambda: self._moved(entry.address),
            self._metrics,
            self._turns,
            self._budget,
            self._clock,
            self._typicals,
        )
        entry.task = spawn(entry.scraper.run(), f"metrics of {entry.address}")
        entry.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error

    def _stop(self, entry: Entry) -> None:
        if entry.task is not None:
            entry.task.cancel()
        if entry.scraper is not None:
            entry.scraper.load.clear()
        entry.task = entry.scraper = entry.source = None

    # how a model executes

    def _configure(self, entry: Entry) -> None:
        if entry.configuring or entry.scraper is None or self._clock() < entry.configure_at:
            return
        wanted = [key for key in entry.scraper.load.shapeless() if key in entry.keys][:CONFIGURATIONS]
        if wanted:
            entry.configuring = True
            spawn(self._ask(entry, wanted), f"configurations of {entry.address}")

    async def _ask(self, entry: Entry, wanted: list[Key]) -> None:
        client = self._configurations(entry.address)
        try:
            for key in wanted:
                shape = await client.shape(*key, CONFIGURATION_TIMEOUT)
                model = entry.model(key)
                if shape is not None and model is not None:
                    model.shape = shape
                    entry.ensembles.learn(key, shape)
        finally:
            entry.configuring = False
            entry.configure_at = self._clock() + CONFIGURATION_PAUSE
            await client.close()


def sources(pools: Mapping[str, Pool], places: Mapping[str, list[Place]]) -> dict[str, Source]:
    """Where the page of each endpoint is: what its configuration says, or the pool's port of its host. An endpoint has
    none if that would be another's page, too: nobody knows whose load it tells."""
    found: dict[str, Source] = {}
    derived = set()
    for address, where in places.items():
        settings = pools[where[0].pool].metrics
        page = where[0].endpoint.metrics
        if page is None:
            page = f"{address.rpartition(':')[0]}:{settings.port}"
            derived.add(address)
        found[address] = Source(page, settings)
    users = Counter(source.address for source in found.values())
    return {
        address: source for address, source in found.items() if address not in derived or users[source.address] == 1
    }
