"""The same endpoint for the same key, and its neighbours on a ring when it is too busy.

Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2017): a key goes to the first endpoint after
it on the ring that has fewer than ⌈bound × (requests in flight + 1) × its part of the weights⌉ in flight. An endpoint
that comes or goes moves only keys of its own. The requests are those of all workers of this node; their sum over many
endpoints is taken anew every few milliseconds.

The key is a header's value, the principal, the sequence or the body; a call without any goes where a random key would.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from math import ceil, fsum
from struct import unpack
from typing import Final

from config.pools import Pick
from routing.call import Call
from routing.endpoint import Endpoint
from routing.pickers import Tools

POINTS: Final = 16_384
"""On a ring in all, so that one of 1,024 endpoints is built in about ten milliseconds."""
MOST_POINTS: Final = 128
"""Of one endpoint of mean weight: the largest arc of keys is then within a third of the mean."""
MOST_NEIGHBOURS: Final = 32
"""That are looked at for one request, so that a key which everybody wants does not cost a walk round the ring."""
TRIES: Final = 16
COUNTED_AT_ONCE: Final = 16
COUNT_SECONDS: Final = 5e-5
"""For each endpoint, from one count to the next: counting takes less than a hundredth of the time."""
REMEMBERED: Final = 64


class Ring:
    """Candidates in the order of their points, and how much they have in flight."""

    def __init__(self, candidates: Sequence[Endpoint], rng: random.Random) -> None:
        self._random = rng.random
        self.candidates = candidates
        self.weights = fsum(endpoint.weight for endpoint in candidates)
        each = max(8, min(MOST_POINTS, POINTS // len(candidates))) * len(candidates) / self.weights
        points = sorted(
            chain.from_iterable(
                ((point, position) for point in points_of(endpoint.address, max(1, round(each * endpoint.weight))))
                for position, endpoint in enumerate(candidates)
            )
        )
        self._points = [point for point, _ in points]
        self._positions = [position for _, position in points]
        self._in_flight = 0
        self._counted_at = -1.0

    def find(self, point: int, bound: float, now: float) -> Endpoint:
        """Where a key at `point` goes."""
        candidates, positions = self.candidates, self._positions
        room = bound * (self._total(now) + 1) / self.weights
        at = bisect_right(self._points, point)
        seen: set[int] = set()
        for step in range(len(positions)):
            position = positions[(at + step) % len(positions)]
            if position in seen:
                continue
            endpoint = candidates[position]
            if endpoint.node_in_flight() < ceil(room * endpoint.weight):
                return endpoint
            seen.add(position)
            if len(seen) == len(candidates) or len(seen) == MOST_NEIGHBOURS:
                break
        return self._anyone(room)

    def _anyone(self, room: float) -> Endpoint:
        """A key that has filled all its neighbours goes where there is room."""
        count = len(self.candidates)
        for _ in range(TRIES):
            endpoint = self.candidates[int(self._random() * count)]
            if endpoint.node_in_flight() < ceil(room * endpoint.weight):
                break
        return endpoint

    def _total(self, now: float) -> int:
        if len(self.candidates) <= COUNTED_AT_ONCE or now >= self._counted_at + COUNT_SECONDS * len(self.candidates):
            self._in_flight = sum(endpoint.node_in_flight() for endpoint in self.candidates)
            self._counted_at = now
        return self._in_flight


class Picker:
    """Consistent hashing with bounded load."""

    def __init__(self, pick: Pick, tools: Tools) -> None:
        self.wants: str = pick.by
        self._bound = pick.bound
        self._clock = tools.fleet.clock
        self._rng: random.Random = tools.rng
        self._rings: dict[int, Ring] = {}

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        ring = self._rings.get(id(candidates))
        if ring is None or ring.candidates is not candidates:
            if len(self._rings) >= REMEMBERED:
                self._rings.clear()
            ring = self._rings[id(candidates)] = Ring(candidates, self._rng)
        return ring.find(self._point(call), self._bound, self._clock())

    def _point(self, call: Call) -> int:
        key = call.hash_key
        if not key and self.wants == "sequence":
            key = call.sequence.encode()
        elif not key and self.wants == "principal":
            key = call.principal.encode()
        elif not key and self.wants == "body":
            key = digest(call.message)
        if not key:
            return self._rng.getrandbits(64)
        return int.from_bytes(blake2b(key, digest_size=8, person=b"ring key").digest(), "little")


def digest(message: Sequence[bytes | bytearray | memoryview]) -> bytes:
    """What tells one message from another where nobody told their tensors apart: BLAKE2b of its bytes, 1 ms for each
    megabyte."""
    state = blake2b(digest_size=8)
    for part in message:
        state.update(part)
    return state.digest()


def points_of(address: str, count: int) -> list[int]:
    """The places of an endpoint on the ring, the same in every process."""
    digests = (blake2b(f"{address} {turn}".encode()).digest() for turn in range(-(-count // 8)))
    return list(chain.from_iterable(unpack("<8Q", each) for each in digests))[:count]
