"""One run: a scenario, one way to choose, so many requests."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from loadtests.simulate.events import Events
from loadtests.simulate.gateway import Gateway
from loadtests.simulate.peers import Peers
from loadtests.simulate.scenarios import Scenario
from loadtests.simulate.triton import Job, Server
from routing.call import Call
from transcoding.methods import BY_NAME

WARM_UP = 0.1
"""The part of the requests that is not counted: queues fill and service times are learned."""
ANNOUNCED = 1.0
AVERAGED = 5.0
"""Seconds."""


@dataclass(frozen=True)
class Outcome:
    """Latencies in milliseconds, and the mean part of the time that instances were busy."""

    p50: float
    p99: float
    mean: float
    utilisation: float


class Run:
    """The parts of a run, and what happens to each request."""

    def __init__(self, scenario: Scenario, choice: str, seed: int) -> None:
        self._scenario = scenario
        self._events = events = Events()
        self._rng = random.Random(f"{scenario.name} {seed}")
        speeds = [0.25 if index < scenario.slow * scenario.endpoints else 1.0 for index in range(scenario.endpoints)]
        self._rng.shuffle(speeds)
        self._direct_servers = int(scenario.direct_share * scenario.endpoints) if scenario.direct else 0
        self._servers = [Server(events, speed, scenario.parallel, scenario.batching) for speed in speeds]
        models = list(scenario.models)
        self._gateways = [Gateway(events, self._servers, models, seed + g) for g in range(scenario.gateways)]
        self._choose = [
            Peers(gateway, self._servers, 1000 * seed + g).choice(choice) for g, gateway in enumerate(self._gateways)
        ]
        self._active = list(range(scenario.gateways))
        self._loads = [0.0] * scenario.gateways
        self._offered = [0.0] * scenario.gateways
        self._rates = self._gateway_rates()
        self._latencies: list[float] = []
        self._sent = 0
        self._calls = {model: Call(BY_NAME["ModelInfer"], model, "1", ()) for model in models}
        self._models = models
        self._shares = [scenario.models[model].share for model in models]
        self._mean = sum(m.mean * m.share for m in scenario.models.values()) / sum(self._shares)
        direct = scenario.direct * sum(speeds[: self._direct_servers])
        self._rate = (scenario.load * sum(speeds) - direct) * scenario.parallel / self._mean

    def _gateway_rates(self) -> list[float]:
        count, skew = self._scenario.gateways, self._scenario.skew
        return [1.0 + skew * (2.0 * g / (count - 1) - 1.0) if count > 1 else 1.0 for g in range(count)]

    def go(self, requests: int) -> Outcome:
        """Let so many requests come, and wait for the last."""
        events, scenario = self._events, self._scenario
        self._announce()
        for index in range(scenario.gateways):
            events.at(self._rng.random() * scenario.period, self._scrape, index)
        if scenario.churn:
            events.at(scenario.churn, self._churn)
        if scenario.direct:
            for server in self._servers[: self._direct_servers]:
                events.at(self._rng.expovariate(1.0), self._direct, server)
        events.at(0.0, self._arrive, requests)
        while len(self._latencies) < requests:
            events.step()
        return self._outcome()

    def _announce(self) -> None:
        """Each gateway tells its load to the store, as the mean of some seconds; all know it a moment later."""
        part = 1.0 - math.exp(-ANNOUNCED / AVERAGED)
        for index, gateway in enumerate(self._gateways):
            offered = gateway.tools.fleet.offered
            self._loads[index] += part * ((offered - self._offered[index]) / ANNOUNCED - self._loads[index])
            self._offered[index] = offered
        self._place()
        self._events.after(ANNOUNCED, self._announce)

    def _place(self) -> None:
        if self._scenario.members:
            loads = [self._loads[index] for index in self._active]
            for place, index in enumerate(self._active):
                self._gateways[index].aperture.place(place, loads)

    def _scrape(self, index: int) -> None:
        self._gateways[index].scrape(self._scenario.delay, self._scenario.counters)
        self._events.after(self._scenario.period * self._rng.uniform(0.9, 1.1), self._scrape, index)

    def _churn(self) -> None:
        """A gateway leaves, or one that left comes back; half of them stay."""
        away = [index for index in range(self._scenario.gateways) if index not in self._active]
        if away and (len(away) >= self._scenario.gateways // 2 or self._rng.random() < 0.5):
            self._active = sorted([*self._active, self._rng.choice(away)])
        else:
            self._active.remove(self._rng.choice(self._active))
        self._place()
        self._events.after(self._scenario.churn, self._churn)

    def _direct(self, server: Server) -> None:
        model = self._rng.choices(self._models, self._shares)[0]
        server.submit(Job(model, self._size(model), lambda: None))
        rate = self._scenario.direct * server.speed * server.parallel / self._mean
        self._events.after(self._rng.expovariate(rate), self._direct, server)

    def _size(self, model: str) -> float:
        spec = self._scenario.models[model]
        return self._rng.gammavariate(1.0 / spec.cv**2, spec.mean * spec.cv**2)

    def _arrive(self, left: int) -> None:
        if left > 1:
            self._events.after(self._rng.expovariate(self._rate), self._arrive, left - 1)
        active = self._active
        index = self._rng.choices(active, [self._rates[each] for each in active])[0]
        model = self._rng.choices(self._models, self._shares)[0] if len(self._models) > 1 else self._models[0]
        call = self._calls[model]
        gateway = self._gateways[index]
        endpoint = self._choose[index](gateway.endpoints, call)
        lease = endpoint.take(call)
        arrived = self._events.now

        def done() -> None:
            lease.release(ok=True)
            self._latencies.append(self._events.now - arrived)

        self._servers[endpoint.slot].submit(Job(model, self._size(model), done))

    def _outcome(self) -> Outcome:
        counted = sorted(self._latencies[int(WARM_UP * len(self._latencies)) :])
        busy = sum(server.busy_seconds for server in self._servers)
        return Outcome(
            p50=counted[len(counted) // 2] * 1e3,
            p99=counted[int(0.99 * len(counted))] * 1e3,
            mean=sum(counted) / len(counted) * 1e3,
            utilisation=busy / (self._events.now * len(self._servers)),
        )
