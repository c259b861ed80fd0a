"""The endpoint that is expected to answer first.

    expected wait = work there / capacity + service time        (`Endpoint.expected_wait`, in seconds)
    work there    = seconds of this node's requests in flight + e^(-age/τ) × seconds of others' work when last scraped

"Least load in time" with the in-flight correction of a stale poll; compare SMG's `least_load` and Finagle's Peak EWMA,
`ewma * (pending + 1)`.

Up to four candidates are all compared. Beyond that it depends on who else sends there. Alone, two random ones and the
best of the last time are compared: power of two choices with memory (Mitzenmacher, Prabhakar and Shah 2002), which
costs the same for any number. Among several gateways the own share is compared (`routing.aperture`), where what this
node knows is nearly exact; only when all of that has `SPILL` requests ahead, four random others are looked at too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from config.pools import Pick
from routing.aperture import OwnPart
from routing.call import Call
from routing.draw import Draw
from routing.endpoint import Endpoint
from routing.fleet import Key
from routing.pickers import Tools

COMPARE_ALL: Final = 4
SPILL: Final = 2.0
OTHERS: Final = 4


class Picker:
    """Least expected wait."""

    wants: str = ""

    def __init__(self, pick: Pick, tools: Tools) -> None:
        self._clock = tools.fleet.clock
        self._draw = Draw(tools.rng)
        self._aperture = tools.aperture
        self._turn = 0

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        count = len(candidates)
        key = (call.model, call.version)
        now = self._clock()
        if count <= COMPARE_ALL:
            return self._of_all(candidates, count, key, now)
        own = self._aperture.own(candidates)
        if own is None:
            return self._of_two(candidates, key, now)
        return self._of_own(own, candidates, key, now)

    def _of_all(self, candidates: Sequence[Endpoint], count: int, key: Key, now: float) -> Endpoint:
        first = self._draw.first(candidates, now)
        best = candidates[first]
        least = best.expected_wait(key, now)
        for offset in range(1, count):
            other = candidates[(first + offset) % count]
            wait = other.expected_wait(key, now)
            if wait < least:
                best, least = other, wait
        return best

    def _of_two(self, candidates: Sequence[Endpoint], key: Key, now: float) -> Endpoint:
        a, b = self._draw.two(candidates, now)
        return a if a.expected_wait(key, now) <= b.expected_wait(key, now) else b

    def _of_own(self, own: tuple[OwnPart, ...], candidates: Sequence[Endpoint], key: Key, now: float) -> Endpoint:
        count = len(own)
        self._turn = turn = (self._turn + 1) % count
        best = own[turn].endpoint
        least = best.expected_wait(key, now)
        for offset in range(1, count):
            part = own[(turn + offset) % count]
            wait = part.endpoint.expected_wait(key, now)
            if wait < least:
                best, least = part.endpoint, wait
        if best.work(now) >= SPILL * best.usual_service:
            for _ in range(OTHERS):
                other = candidates[self._draw.one(candidates, now)]
                wait = other.expected_wait(key, now)
                if wait < least:
                    best, least = other, wait
        return best
