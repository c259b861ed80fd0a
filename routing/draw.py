"""Drawing an endpoint by chance, in proportion to weights, at a cost that does not grow with their number."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from routing.endpoint import Endpoint

REMEMBERED: Final = 4096
TRIES: Final = 4


class Draw:
    """Draws from candidates; what follows from their weights is remembered for each tuple of them."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng.random
        self._turn = 0
        self._sums: dict[int, tuple[Sequence[Endpoint], list[float]]] = {}

    def sums(self, candidates: Sequence[Endpoint]) -> list[float]:
        """Running sums of the weights; empty when all weigh the same."""
        known = self._sums.get(id(candidates))
        if known is not None and known[0] is candidates:
            return known[1]
        weights = [endpoint.weight for endpoint in candidates]
        sums = [] if min(weights) == max(weights) else list(accumulate(weights))
        if len(self._sums) >= REMEMBERED:
            self._sums.clear()
        self._sums[id(candidates)] = (candidates, sums)
        return sums

    def first(self, candidates: Sequence[Endpoint], now: float) -> int:
        """Where to begin a comparison of all, so that ties spread by weight: in turn where these are the same."""
        count = len(candidates)
        if self.sums(candidates):
            return self.one(candidates, now)
        for _ in range(TRIES):
            self._turn = turn = (self._turn + 1) % count
            if self._takes(candidates[turn], now):
                break
        return turn

    def one(self, candidates: Sequence[Endpoint], now: float) -> int:
        """The position of one by chance and weight; one in slow start comes as much more rarely."""
        sums = self.sums(candidates)
        for _ in range(TRIES):
            chance = self._random()
            position = bisect_right(sums, chance * sums[-1]) if sums else int(chance * len(candidates))
            if self._takes(candidates[position], now):
                break
        return position

    def two(self, candidates: Sequence[Endpoint], now: float) -> tuple[Endpoint, Endpoint]:
        """Two different ones of at least two."""
        first = self.one(candidates, now)
        second = self.one(candidates, now)
        if second == first:
            second = (first + 1 + int(self._random() * (len(candidates) - 1))) % len(candidates)
        return candidates[first], candidates[second]

    def _takes(self, endpoint: Endpoint, now: float) -> bool:
        capacity = endpoint.capacity(now)
        return capacity >= endpoint.weight or self._random() * endpoint.weight < capacity
