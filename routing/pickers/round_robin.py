"""Each endpoint in turn, as often as its weight says, whatever its load.

Weighted turns are those of earliest deadline first, as in Envoy: whoever was taken comes again after 1/weight. That is
as smooth as nginx's smooth weighted round robin, at O(log n) for a turn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import Final

from config.pools import Pick
from routing.call import Call
from routing.endpoint import Endpoint
from routing.pickers import Tools

REMEMBERED: Final = 1024


class Turns:
    """The turns of one set of candidates. They begin at a random place: workers that start together do not send their
    first requests to the same endpoint."""

    def __init__(self, candidates: Sequence[Endpoint], rng: random.Random) -> None:
        self.candidates = candidates
        self._at = rng.randrange(len(candidates))
        weights = [endpoint.weight for endpoint in candidates]
        self._due: list[tuple[float, int]] = []
        if min(weights) != max(weights):
            self._due = [(rng.random() / weight, position) for position, weight in enumerate(weights)]
            heapify(self._due)

    def next(self) -> Endpoint:
        """Whose turn it is."""
        candidates = self.candidates
        if not self._due:
            self._at = at = (self._at + 1) % len(candidates)
            return candidates[at]
        due, position = self._due[0]
        endpoint = candidates[position]
        heapreplace(self._due, (due + 1.0 / endpoint.weight, position))
        return endpoint


class Picker:
    """Weighted round robin, for each set of candidates by itself."""

    wants: str = ""

    def __init__(self, pick: Pick, tools: Tools) -> None:
        self._clock = tools.fleet.clock
        self._rng = tools.rng
        self._turns: dict[int, Turns] = {}

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        turns = self._turns.get(id(candidates))
        if turns is None or turns.candidates is not candidates:
            if len(self._turns) >= REMEMBERED:
                self._turns.clear()
            turns = self._turns[id(candidates)] = Turns(candidates, self._rng)
        endpoint = turns.next()
        now = self._clock()
        capacity = endpoint.capacity(now)
        if capacity < endpoint.weight and self._rng.random() * endpoint.weight > capacity:
            return turns.next()
        return endpoint
