"""The endpoint with the fewest requests of this worker in flight.

Up to four candidates are all compared, from a rotating start so that ties spread; beyond that two random ones are
compared ("power of two choices", Mitzenmacher 2001), so a choice costs the same for any number of endpoints.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from routing.call import Call
from routing.endpoint import Endpoint

COMPARE_ALL = 4


class Picker:
    """Fewest in flight; `rng` is injected for tests."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = (rng or random.Random()).random
        self._turn = 0

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        count = len(candidates)
        if count > COMPARE_ALL:
            return self._pick_of_two(candidates, count)
        self._turn = turn = self._turn + 1
        best = candidates[turn % count]
        for offset in range(1, count):
            other = candidates[(turn + offset) % count]
            if other.in_flight < best.in_flight:
                best = other
        return best

    def _pick_of_two(self, candidates: Sequence[Endpoint], count: int) -> Endpoint:
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        a, b = candidates[first], candidates[second + (second >= first)]
        return a if a.in_flight <= b.in_flight else b
