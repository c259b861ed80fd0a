"""A gateway in the simulation: the real endpoints, board and aperture of one node, fed by modelled scrapes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.simulate.events import Events
from loadtests.simulate.triton import Server
from routing.aperture import Aperture
from routing.call import Call, Reply
from routing.connectors.streaming import StreamAttempt, StreamSink
from routing.endpoint import Endpoint
from routing.fleet import Fleet
from routing.load_board import LoadBoard
from routing.pickers import Tools

SERVICE_MEMORY = 50.0
"""Requests over which control averages a service time."""


@dataclass(frozen=True)
class Version:
    """A model version that is READY, with its row of the board."""

    slot: int
    state: str = "READY"
    reason: str = ""


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


class Gateway:
    """One node. `scrape` reads all servers now and publishes that after a delay."""

    def __init__(self, events: Events, servers: list[Server], models: list[str], seed: int) -> None:
        self._events = events
        self._servers = servers
        self._models = models
        self.board = LoadBoard.create(None, len(servers) * (1 + len(models)), 1)
        fleet = Fleet(self.board, 0, events.clock)
        self.aperture = Aperture()
        self.tools = Tools(fleet, self.aperture, random.Random(seed))
        self.endpoints = tuple(self._endpoint(index, fleet) for index in range(len(servers)))
        self._seen: list[Mapping[str, tuple[float, int]]] = [{} for _ in servers]
        self._service: list[dict[str, float]] = [{} for _ in servers]

    def _endpoint(self, index: int, fleet: Fleet) -> Endpoint:
        endpoint = Endpoint(f"gpu-{index}:8001", NoChannel(), fleet)
        endpoint.live = endpoint.known = True
        endpoint.slot = index
        endpoint.inventory = {model: {"1": Version(self._slot(index, model))} for model in self._models}
        return endpoint

    def _slot(self, index: int, model: str) -> int:
        return len(self._servers) + index * len(self._models) + self._models.index(model)

    def scrape(self, delay: float, counters: bool) -> None:
        """Read every server's page: it is known to the workers `delay` seconds later."""
        for index, server in enumerate(self._servers):
            own = self.board.in_flight(index)
            # What runs is not in the page; when something waits, all instances are taken.
            there = server.pending + (server.parallel if server.pending else 0)
            services = self._service_times(index, server) if counters else {}
            self._events.after(delay, self._publish, index, max(0, there - own), self._events.now, services)

    def _publish(self, index: int, others: float, at: float, services: dict[str, float]) -> None:
        for model, seconds in services.items():
            self.board.publish(self._slot(index, model), service=seconds, at=at)
        known = list(services.values()) or [self.endpoints[index].usual_service]
        self.board.publish(index, foreign=others * sum(known) / len(known), at=at)

    def _service_times(self, index: int, server: Server) -> dict[str, float]:
        """Compute time over requests, from the counters' deltas, as a mean over the last `SERVICE_MEMORY` requests."""
        means, seen = self._service[index], self._seen[index]
        for model, count in server.executed.items():
            busy_before, count_before = seen.get(model, (0.0, 0))
            new = count - count_before
            if new:
                sample = (server.busy_seconds[model] - busy_before) / new
                known = means.get(model, sample)
                means[model] = known + (sample - known) * new / (new + SERVICE_MEMORY)
        self._seen[index] = {model: (server.busy_seconds[model], count) for model, count in server.executed.items()}
        return dict(means)
