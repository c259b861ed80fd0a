"""The endpoint that is expected to answer first.

    expected wait = work there / (capacity × own part) + service time       (`Endpoint.expected_wait`, in seconds)
    work there    = seconds of this node's requests in flight, less what the one being served has done
                    + seconds of others' work, as usual there and as last scraped × e^(-age/τ)

Load in time and corrected by what was sent since the poll, as in SMG's `least_load`, `(queued + in flight since the
poll) / throughput`; Finagle's Peak EWMA, `ewma × (pending + 1)`, is the same without a poll.

The own share is looked through (`routing.aperture`; all candidates when there is no other gateway), each time from the
endpoint after the last choice, in an order of this worker's own, and no further than to one that does nothing and is as
fast as any. That is up to `LOOKS` endpoints, so a choice costs the same for any number. Looking on from the last choice
finds who was idle for longest; an order of one's own keeps gateways from going in convoy. When even the best has
`SPILL` services of work, `OTHERS` random ones outside the share are looked at too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from config.pools import Pick
from routing.aperture import Own
from routing.call import Call
from routing.endpoint import Endpoint
from routing.fleet import Key
from routing.pickers import Tools

LOOKS: Final = 12
SPILL: Final = 1.5
OTHERS: Final = 4
AS_FAST: Final = 1.02
"""Times the fastest service that is known of a model."""


class Picker:
    """Least expected wait."""

    wants: str = ""

    def __init__(self, pick: Pick, tools: Tools) -> None:
        self._fleet = tools.fleet
        self._clock = tools.fleet.clock
        self._random = tools.rng.random
        self._aperture = tools.aperture

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        key = (call.model, call.version)
        now = self._clock()
        own = self._aperture.own(candidates, key, now)
        best = self._best(own, key, now)
        if not own.whole and best.work(now) >= SPILL * best.usual_service:
            return self._spill(best, candidates, key, now)
        return best

    def _best(self, own: Own, key: Key, now: float) -> Endpoint:
        parts, turn = own.parts, own.turn
        count = len(parts)
        typical = self._fleet.typical(key)
        best: Endpoint | None = None
        least = 0.0
        for _ in range(LOOKS if count > LOOKS else count):
            turn = (turn + 1) % count
            endpoint, part = parts[turn]
            if (own.uneven or now < endpoint.warm_at) and not self._takes(own, endpoint, now):
                continue
            service = endpoint.service_seconds(key, now)
            wait = endpoint.ahead(now, part) + service
            good = AS_FAST * typical.fastest
            typical.see(service)
            if best is None or wait < least:
                best, least, own.turn = endpoint, wait, turn
                if wait <= good:
                    break
        if best is None:
            own.turn = turn
            return parts[turn].endpoint
        return best

    def _takes(self, own: Own, endpoint: Endpoint, now: float) -> bool:
        """Its turn comes as often as its capacity is of the heaviest weight."""
        return self._random() * own.heaviest < endpoint.capacity(now)

    def _spill(self, best: Endpoint, candidates: Sequence[Endpoint], key: Key, now: float) -> Endpoint:
        least = best.expected_wait(key, now)
        count = len(candidates)
        for _ in range(OTHERS):
            other = candidates[int(self._random() * count)]
            wait = other.expected_wait(key, now)
            if wait < least:
                best, least = other, wait
        return best
