"""One run: a scenario, one way to choose, so many requests."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass

from loadtests.simulate.events import Events
from loadtests.simulate.gateway import Gateway
from loadtests.simulate.peers import Peers
from loadtests.simulate.scenarios import Scenario
from loadtests.simulate.triton import Job, Server
from routing.call import Call
from transcoding.methods import BY_NAME

FAIR = 0.75
"""Of an equal share of the requests, what counts as fair."""
FAIR_SECONDS = 3
"""For how long a share is fair, to count."""
WARM_UP = 0.1
"""The part of the requests that is not counted: queues fill and service times are learned."""
ANNOUNCED = 1.0
AVERAGED = 5.0
"""Seconds."""


@dataclass(frozen=True)
class Outcome:
    """Latencies in milliseconds, and the mean part of the time that instances were busy. `recovered`: seconds from the
    end of a cold start until the endpoint has a fair share of the requests, -1 if there is none or it never has.
    `service` is the p99 of service times alone, in milliseconds, where they are shortest."""

    p50: float
    p99: float
    mean: float
    utilisation: float
    recovered: float = -1.0
    service: float = 0.0


class Run:
    """The parts of a run, and what happens to each request."""

    def __init__(self, scenario: Scenario, choice: str, seed: int) -> None:
        self._scenario = scenario
        self._events = events = Events()
        self._rng = random.Random(f"{scenario.name} {seed}")
        speeds = [0.25 if index < scenario.slow * scenario.endpoints else 1.0 for index in range(scenario.endpoints)]
        self._rng.shuffle(speeds)
        self._direct_servers = int(scenario.direct_share * scenario.endpoints) if scenario.direct else 0
        cold = [scenario.cold if index == 0 else 0.0 for index in range(scenario.endpoints)]
        self._servers = [
            Server(events, speed, scenario.parallel, scenario.batching, first)
            for speed, first in zip(speeds, cold, strict=True)
        ]
        models = list(scenario.models)
        self._gateways = [Gateway(events, self._servers, models, seed + g) for g in range(scenario.gateways)]
        usual = [self._usual(index < self._direct_servers) for index in range(scenario.endpoints)]
        self._choose = [
            Peers(self._gateways, g, self._servers, usual, 1000 * seed + g).choice(choice)
            for g in range(scenario.gateways)
        ]
        self._active = list(range(scenario.gateways))
        self._loads = [0.0] * scenario.gateways
        self._offered = [0.0] * scenario.gateways
        self._rates = self._gateway_rates()
        self._latencies: list[float] = []
        self._sizes: list[float] = []
        self._sent: Counter[int] = Counter()
        self._sent_first: Counter[int] = Counter()
        self._calls = {model: Call(BY_NAME["ModelInfer"], model, "1", ()) for model in models}
        self._models = models
        self._shares = [scenario.models[model].share for model in models]
        self._mean = sum(m.mean * m.share for m in scenario.models.values()) / sum(self._shares)
        direct = scenario.direct * sum(speeds[: self._direct_servers])
        self._rate = (scenario.load * sum(speeds) - direct) * scenario.parallel / self._mean

    def _usual(self, direct: bool) -> float:
        """Requests of others at a server on average: those of a queue M/G/1 (Pollaczek and Khinchine)."""
        load = self._scenario.direct if direct else 0.0
        variation = max(model.cv for model in self._scenario.models.values())
        return load + load**2 * (1.0 + variation**2) / (2.0 * (1.0 - load))

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
            offered = math.fsum(endpoint.offered for endpoint in gateway.endpoints)
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
        if self._scenario.pages:
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
        for _ in range(self._scenario.burst):
            model = self._rng.choices(self._models, self._shares)[0]
            server.submit(Job(model, self._size(model), lambda: None))
        rate = self._scenario.direct * server.speed * server.parallel / self._mean / self._scenario.burst
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
        self._sent[int(arrived)] += 1
        self._sent_first[int(arrived)] += endpoint.slot == 0

        def done() -> None:
            lease.release(ok=True)
            self._latencies.append(self._events.now - arrived)

        size = self._size(model)
        self._sizes.append(size)
        self._servers[endpoint.slot].submit(Job(model, size, done))

    def _outcome(self) -> Outcome:
        counted = sorted(self._latencies[int(WARM_UP * len(self._latencies)) :])
        busy = sum(server.busy_seconds for server in self._servers)
        return Outcome(
            p50=counted[len(counted) // 2] * 1e3,
            p99=counted[int(0.99 * len(counted))] * 1e3,
            mean=sum(counted) / len(counted) * 1e3,
            utilisation=busy / (self._events.now * len(self._servers)),
            service=sorted(self._sizes)[int(0.99 * len(self._sizes))] * 1e3,
            recovered=self._recovered() if self._scenario.cold else -1.0,
        )

    def _recovered(self) -> float:
        begin, end = math.ceil(self._scenario.cold), int(self._events.now) - FAIR_SECONDS
        for second in range(begin, end):
            window = range(second, second + FAIR_SECONDS)
            fair = FAIR * sum(self._sent[each] for each in window) / len(self._servers)
            if sum(self._sent_first[each] for each in window) >= fair:
                return second - self._scenario.cold
        return -1.0
