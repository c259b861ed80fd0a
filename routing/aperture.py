"""Which part of a pool is a gateway's own, when several gateways share it.

A gateway sees what itself sends at once, what others send only when it scrapes. So each has a share of the endpoints in
which it is nearly alone, and what it knows there is nearly exact ("deterministic aperture", Twitter's Finagle 2019).
The endpoints lie on a ring of length 1 each; of N nodes, node i has the arc from i/N to (i+1)/N of it. Where an arc
ends within an endpoint, both neighbours have a part of it. Shares are all of one size, also while nodes join or leave,
and one more endpoint or node moves each arc's ends by no more than an arc.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from routing.endpoint import Endpoint

MINIMUM: Final = 4.0
"""The least share, in endpoints: fewer leave too little to choose from."""
SLIVER: Final = 0.05
"""A smaller part of an endpoint is not worth looking at."""
REMEMBERED: Final = 1024


class Part(NamedTuple):
    """`fraction` of the endpoint at `position`."""

    position: int
    fraction: float


def share(node: int, nodes: int, size: int, minimum: float = MINIMUM) -> tuple[Part, ...]:
    """The parts of a ring of `size` endpoints that are node `node`'s of `nodes`, in the order of the ring: `size` /
    `nodes` endpoints, but `minimum` at least, and everything when it is alone."""
    width = max(size / nodes, minimum)
    if width >= size:
        return tuple(Part(position, 1.0) for position in range(size))
    start = node * size / nodes
    end = start + width
    parts: list[Part] = []
    position = int(start)
    while position < end:
        fraction = min(position + 1.0, end) - max(float(position), start)
        if fraction > SLIVER:
            parts.append(Part(position % size, min(fraction, 1.0)))
        position += 1
    return tuple(parts)


class OwnPart(NamedTuple):
    """An endpoint of the own share and how much of it is."""

    endpoint: Endpoint
    fraction: float


class Aperture:
    """This node's place among the gateways, injected by whoever knows the members, and the shares that follow. Alone
    until `place` says otherwise."""

    def __init__(self, minimum: float = MINIMUM) -> None:
        self.node = 0
        self.nodes = 1
        self._minimum = minimum
        self._shares: dict[int, tuple[Sequence[Endpoint], tuple[OwnPart, ...]]] = {}

    def place(self, node: int, nodes: int) -> None:
        """This is node `node`, from 0, of `nodes` in the same order everywhere."""
        if (node, nodes) != (self.node, self.nodes):
            self.node, self.nodes = node, nodes
            self._shares.clear()

    def own(self, candidates: Sequence[Endpoint]) -> tuple[OwnPart, ...] | None:
        """The share of `candidates`, remembered for this very object; None when it is all of them."""
        if self.nodes == 1:
            return None
        known = self._shares.get(id(candidates))
        if known is None or known[0] is not candidates:
            known = (candidates, self._find(candidates))
            if len(self._shares) >= REMEMBERED:
                self._shares.clear()
            self._shares[id(candidates)] = known
        return known[1] or None

    def _find(self, candidates: Sequence[Endpoint]) -> tuple[OwnPart, ...]:
        parts = share(self.node, self.nodes, len(candidates), self._minimum)
        if len(parts) == len(candidates):
            return ()
        ring = sorted(candidates, key=place_on_ring)
        return tuple(OwnPart(ring[part.position], part.fraction) for part in parts)


def place_on_ring(endpoint: Endpoint) -> bytes:
    """The order of the ring: the same in all gateways, and mixed, so that neighbours in a rack are not in one share."""
    return blake2b(endpoint.address.encode(), digest_size=8).digest()
