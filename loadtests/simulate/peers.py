"""Other ways to choose, for comparison. Each sees what it would see in a real proxy, but for the oracle."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from config.pools import Pick
from loadtests.simulate.gateway import Gateway
from loadtests.simulate.triton import Server
from routing.call import Call
from routing.endpoint import Endpoint
from routing.pickers import make

Choose = Callable[[Sequence[Endpoint], Call], Endpoint]


class Peers:
    """The choices of gateway `own` by name. `usual` is how many requests of others are at each server on average."""

    def __init__(
        self, gateways: Sequence[Gateway], own: int, servers: list[Server], usual: list[float], seed: int
    ) -> None:
        gateway = gateways[own]
        self._gateways = gateways
        self._usual = usual
        self._board = gateway.board
        self._tools = gateway.tools
        self._rng = random.Random(seed)
        self._servers = dict(zip(gateway.endpoints, servers, strict=True))
        self._turn = self._rng.randrange(len(servers))

    def choice(self, name: str) -> Choose:
        """The function of a row of `NAMES`."""
        chosen: Choose = getattr(self, "_" + name.replace("-", "_"))()
        return chosen

    def _ours(self) -> Choose:
        return make(Pick("expected_wait"), self._tools).pick

    def _round_robin(self) -> Choose:
        def pick(candidates: Sequence[Endpoint], call: Call) -> Endpoint:
            self._turn += 1
            return candidates[self._turn % len(candidates)]

        return pick

    def _random(self) -> Choose:
        return lambda candidates, call: self._rng.choice(candidates)

    def _least_own(self) -> Choose:
        return lambda candidates, call: self._least(candidates, lambda each: each.in_flight)

    def _two_own(self) -> Choose:
        def pick(candidates: Sequence[Endpoint], call: Call) -> Endpoint:
            return self._least(self._rng.sample(candidates, 2), lambda each: each.in_flight)

        return pick

    def _stale_shortest(self) -> Choose:
        published = self._board.published
        return lambda candidates, call: self._least(candidates, lambda each: published(each.slot).pending)

    def _oracle(self) -> Choose:
        def steps(endpoint: Endpoint) -> float:
            server = self._servers[endpoint]
            return (server.in_system + 1) / server.speed

        return lambda candidates, call: self._least(candidates, steps)

    def _informed(self) -> Choose:
        def steps(endpoint: Endpoint) -> float:
            there = sum(gateway.endpoints[endpoint.slot].in_flight for gateway in self._gateways)
            return (there + self._usual[endpoint.slot] + 1) / self._servers[endpoint].speed

        return lambda candidates, call: self._least(candidates, steps)

    def _least(self, candidates: Sequence[Endpoint], load: Callable[[Endpoint], float]) -> Endpoint:
        loads = [load(each) for each in candidates]
        least = min(loads)
        return self._rng.choice([each for each, value in zip(candidates, loads, strict=True) if value == least])


NAMES = {
    "ours": "expected wait (ours)",
    "oracle": "oracle: sees all queues",
    "informed": "bound: all gateways as one, others' work as a mean",
    "round-robin": "round robin",
    "random": "random",
    "two-own": "power of two, own in flight",
    "least-own": "least own in flight",
    "stale-shortest": "shortest queue when last scraped",
}
