"""Which part of a pool is a gateway's own, when several gateways share it.

A gateway sees what itself sends at once, what others send only when it scrapes. So each has a share of the endpoints in
which it is nearly alone, and what it knows there is nearly exact ("deterministic aperture", Twitter's Finagle 2019).
The endpoints lie on a ring, each with a length: its weight by its speed. Of that ring each node has an arc in
proportion to its load, one after the other in the order of the nodes. Where an arc ends within an endpoint, both
neighbours have a part of it. As loads, speeds and members change, the ends of arcs move by as much, and no further.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from routing.endpoint import Endpoint
from routing.fleet import Key

MINIMUM: Final = 4.0
"""The least share, in endpoints: fewer leave too little to choose from."""
SLIVER: Final = 0.05
"""A smaller part of an endpoint is not worth looking at."""
LEAST_LOAD: Final = 0.1
"""Of the mean: who does nothing now may do something in a moment."""
STEPS: Final = 4
"""To a factor of two, of speeds and loads: nodes that see nearly the same come to exactly the same arcs."""
FRESH_SECONDS: Final = 2.0
REMEMBERED: Final = 1024


class Part(NamedTuple):
    """`fraction` of the endpoint at `position`."""

    position: int
    fraction: float


class OwnPart(NamedTuple):
    """An endpoint of the own share and how much of it is."""

    endpoint: Endpoint
    fraction: float


def share(node: int, loads: Sequence[float], lengths: Sequence[float], minimum: float = MINIMUM) -> tuple[Part, ...]:
    """The parts of a ring of endpoints with these lengths that are node `node`'s: of the whole length what its load is
    of all, but that of `minimum` mean endpoints at least; everything when it is alone."""
    total, whole = math.fsum(loads), math.fsum(lengths)
    width = max(whole * loads[node] / total, whole * minimum / len(lengths))
    if width >= whole:
        return tuple(Part(position, 1.0) for position in range(len(lengths)))
    start = whole * math.fsum(loads[:node]) / total
    found: dict[int, float] = {}
    for low, high in ((start, start + width), (start - whole, start + width - whole)):  # an arc may cross the end
        at = 0.0
        for position, length in enumerate(lengths):
            fraction = (min(at + length, high) - max(at, low)) / length
            if fraction > SLIVER:
                found[position] = found.get(position, 0.0) + fraction
            at += length
    return tuple(Part(position, min(1.0, fraction)) for position, fraction in found.items())


class Own:
    """The own share of one tuple of candidates, in an order of this process's own. `whole` when that is all of them;
    `uneven` when weights differ, of which `heaviest` is the largest; `turn` is the place of the last choice."""

    __slots__ = ("at", "candidates", "heaviest", "parts", "ring", "turn", "uneven", "whole")

    def __init__(self, candidates: Sequence[Endpoint], rng: random.Random) -> None:
        self.candidates = candidates
        self.ring = sorted(candidates, key=place_on_ring)
        self.heaviest = max(endpoint.weight for endpoint in candidates)
        self.uneven = min(endpoint.weight for endpoint in candidates) < self.heaviest
        self.turn = 0
        self.at = -math.inf
        self.whole = True
        self.parts = tuple(OwnPart(endpoint, 1.0) for endpoint in rng.sample(candidates, len(candidates)))


class Aperture:
    """This node's place among the gateways, injected by whoever knows the members, and the shares that follow. Alone
    until `place` says otherwise."""

    def __init__(self, rng: random.Random | None = None, minimum: float = MINIMUM) -> None:
        self.node = 0
        self.loads: tuple[float, ...] = (1.0,)
        self._rng = rng or random.Random()
        self._minimum = minimum
        self._shares: dict[int, Own] = {}

    def place(self, node: int, loads: Sequence[float]) -> None:
        """This is node `node`, from 0, of those with these loads (the growth of `Endpoint.offered` in a second), in the
        same order everywhere; all alike where loads are not known."""
        known = relative(loads)
        if (node, known) != (self.node, self.loads):
            self.node, self.loads = node, known
            self._shares.clear()

    def own(self, candidates: Sequence[Endpoint], key: Key, now: float) -> Own:
        """The share of `candidates`, remembered for this very object. Speeds are those that `key` is first asked with:
        they are the machines', not the models'."""
        known = self._shares.get(id(candidates))
        if known is None or known.candidates is not candidates:
            if len(self._shares) >= REMEMBERED:
                self._shares.clear()
            known = self._shares[id(candidates)] = Own(candidates, self._rng)
        if len(self.loads) > 1 and now >= known.at + FRESH_SECONDS:
            known.at = now
            self._find(known, key, now)
        return known

    def _find(self, own: Own, key: Key, now: float) -> None:
        ring = own.ring
        lengths = [endpoint.weight / stepped(endpoint.service_seconds(key, now)) for endpoint in ring]
        parts = share(self.node, self.loads, lengths, self._minimum)
        own.whole = len(parts) == len(ring)
        own.parts = tuple(OwnPart(ring[part.position], part.fraction) for part in self._rng.sample(parts, len(parts)))


def relative(loads: Sequence[float]) -> tuple[float, ...]:
    """Loads in steps of their mean, as shares depend on them."""
    mean = math.fsum(loads) / len(loads)
    return tuple(stepped(max(load / mean, LEAST_LOAD)) if mean > 0.0 else 1.0 for load in loads)


def stepped(value: float) -> float:
    """The nearest of `STEPS` values to a factor of two."""
    return float(2.0 ** (round(math.log2(value) * STEPS) / STEPS))


def place_on_ring(endpoint: Endpoint) -> bytes:
    """The order of the ring: the same in all gateways, and mixed, so that neighbours in a rack are not in one share."""
    return blake2b(endpoint.address.encode(), digest_size=8).digest()
