"""The endpoint with the fewest requests of this node in flight for its weight.

Up to four candidates are all compared; beyond that two random ones are ("power of two choices", Mitzenmacher 2001), so
a choice costs the same for any number of endpoints. Like Envoy's LEAST_REQUEST, but for all workers of the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from config.pools import Pick
from routing.call import Call
from routing.draw import Draw
from routing.endpoint import Endpoint
from routing.pickers import Tools

COMPARE_ALL: Final = 4


class Picker:
    """Fewest in flight."""

    wants: str = ""

    def __init__(self, pick: Pick, tools: Tools) -> None:
        self._clock = tools.fleet.clock
        self._draw = Draw(tools.rng)

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        count = len(candidates)
        now = self._clock()
        if count > COMPARE_ALL:
            a, b = self._draw.two(candidates, now)
            return a if a.crowding(now) <= b.crowding(now) else b
        first = self._draw.first(candidates, now)
        best = candidates[first]
        least = best.crowding(now)
        for offset in range(1, count):
            other = candidates[(first + offset) % count]
            crowding = other.crowding(now)
            if crowding < least:
                best, least = other, crowding
        return best
