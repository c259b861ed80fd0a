"""A gateway in the simulation: the real endpoints, board and aperture of one node, fed by modelled scrapes."""

from __future__ import annotations

import math
import random
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

FADE = 2.0


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
        self._readings = [{model: Reading(model) for model in models} for _ in servers]

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
        now = self._events.now
        for index, server in enumerate(self._servers):
            rows = []
            for model, reading in self._readings[index].items():
                slot = self._slot(index, model)
                service, others = reading.read(server, self.board.in_flight(slot), now)
                rows.append((slot, service if counters else 0.0, others))
            self._events.after(delay, self._publish, index, rows, now)

    def _publish(self, index: int, rows: list[tuple[int, float, float]], at: float) -> None:
        for slot, service, others in rows:
            self.board.publish(slot, service=service, foreign=others, at=at)
        self.board.publish(index, foreign=sum(others for _, _, others in rows), at=at)


class Reading:
    """What control makes of the counters of one model at one endpoint, as `gateway.control.load` does: sums fade by e
    every `FADE` seconds."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._at = 0.0
        self._seen = (0.0, 0, 0)
        self._compute = self._requests = self._executions = self._own = 0.0

    def read(self, server: Server, own: int, now: float) -> tuple[float, float]:
        """The seconds that one request costs, and the seconds of others' work."""
        model, (compute, requests, executions) = self._model, self._seen
        self._seen = (server.compute[model], server.executed[model], server.executions[model])
        elapsed, self._at = now - self._at, now
        left = math.exp(-elapsed / FADE)
        self._compute = self._compute * left + self._seen[0] - compute
        self._requests = self._requests * left + self._seen[1] - requests
        self._executions = self._executions * left + self._seen[2] - executions
        self._own = self._own * left + own * elapsed
        if not self._requests:
            return 0.0, 0.0
        batch = self._requests / self._executions
        service = self._compute / self._requests / batch / server.parallel
        others = server.waiting[model] + self._compute / FADE - max(own, self._own / FADE)
        return service, max(0.0, others) * service
