"""A gateway in the simulation: the real endpoints, board and aperture of one node, and what control makes of the pages
of modelled servers."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.control.load import EndpointLoad, Load, Shape
from gateway.control.metrics_page import Counts, Key, Page
from gateway.control.typical import Typicals
from loadtests.simulate.events import Events
from loadtests.simulate.triton import Server
from routing.aperture import Aperture
from routing.call import Call, Reply
from routing.connectors.streaming import StreamAttempt, StreamSink
from routing.endpoint import Endpoint
from routing.fleet import Fleet
from routing.load_board import LoadBoard
from routing.pickers import Tools


@dataclass(frozen=True)
class Version:
    """A model version that is READY, with its row of the board."""

    slot: int
    state: str = "READY"
    reason: str = ""
    load: int = 0


class NoChannel:
    """The simulation sends nothing."""

    connected = True

    async def unary(self, call: Call) -> Reply:
        """Never called."""
        raise NotImplementedError

    async def stream(
        self, path: bytes, sink: StreamSink, *, metadata: bytes = b"", deadline: float | None = None
    ) -> StreamAttempt:
        """Never called."""
        raise NotImplementedError

    def hurry(self) -> None:
        """Never called."""


class Gateway:
    """One node. `scrape` reads all servers now and publishes that after a delay."""

    def __init__(self, events: Events, servers: list[Server], models: list[str], seed: int) -> None:
        self._events = events
        self._servers = servers
        self._models = models
        self.board = LoadBoard.create(None, len(servers) * (1 + len(models)), 1)
        fleet = Fleet(self.board, 0, events.clock)
        self.aperture = Aperture(random.Random(seed))
        self.tools = Tools(fleet, self.aperture, random.Random(seed))
        self.endpoints = tuple(self._endpoint(index, fleet) for index in range(len(servers)))
        typicals = Typicals()
        self._loads = [EndpointLoad(typicals) for _ in servers]
        self._pages: list[dict[Key, Counts]] = [{} for _ in servers]

    def _endpoint(self, index: int, fleet: Fleet) -> Endpoint:
        endpoint = Endpoint(f"gpu-{index}:8001", NoChannel(), fleet)
        endpoint.live = endpoint.known = True
        endpoint.slot = index
        endpoint.inventory = {model: {"1": Version(self._slot(index, model))} for model in self._models}
        return endpoint

    def _slot(self, index: int, model: str) -> int:
        return len(self._servers) + index * len(self._models) + self._models.index(model)

    def scrape(self, delay: float, counters: bool) -> None:
        """Read every server's page: it is known to the workers `delay` seconds later. Without `counters` a page tells
        who waits, and not how long a request takes."""
        now = self._events.now
        for index, server in enumerate(self._servers):
            load = self._loads[index]
            touched = load.update(self._page(index, server), self._own(index), now)
            for model in load.models.values():
                if model.shape is None:
                    model.shape = Shape(server.parallel)
            rows = [(self._slot(index, key[0]), load.models[key].load) for key in touched]
            if not counters:
                rows = [(slot, each._replace(service=0.0)) for slot, each in rows]
            self._events.after(delay, self._publish, [*rows, (index, load.total())], now)

    def _page(self, index: int, server: Server) -> Page:
        """What the metrics page of a server says now."""
        page = {
            (model, "1"): Counts(
                pending=server.waiting[model],
                success=server.executed[model],
                executions=server.executions[model],
                compute=server.compute[model],
            )
            for model in self._models
        }
        before, self._pages[index] = self._pages[index], page
        return Page(page, (), frozenset(key for key, counts in page.items() if before.get(key) != counts))

    def _own(self, index: int) -> dict[Key, float]:
        in_flight = {(model, "1"): self.board.in_flight(self._slot(index, model)) for model in self._models}
        return {key: count for key, count in in_flight.items() if count}

    def _publish(self, rows: list[tuple[int, Load]], at: float) -> None:
        for slot, load in rows:
            self.board.publish(
                slot, pending=load.pending, service=load.service, foreign=load.foreign, at=at, own_at=load.own
            )
