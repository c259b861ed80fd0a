"""A stateful sequence stays on one endpoint from START to END, whichever worker its requests come to.

Its state is in the memory of one Triton. A START goes by rendezvous hashing (Thaler and Ravishankar 1998), so workers
that know the same endpoints agree without asking, and where it went is written into a table that all workers of a node
share: endpoints may come and go, the sequence stays. It is over at END, or when it paused for the pool's
`sequence_idle`. A request of a sequence that the table does not know goes where the hash says, and Triton answers.

When the endpoint is gone, the sequence is lost with its state: its requests get an error that says so, until it is
started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from routing.connectors.outcome import absent, died
from routing.sequence_table import Entry, SequenceTable
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from routing.call import Call
    from routing.endpoint import Endpoint

LOST: Final = 1 << 63
"""The bit of a place that says that the sequence was there and is lost."""
SETTLING: Final = 1.0
"""Seconds in which all workers come to know what control says: until then a new endpoint gets no sequences if there are
others, and one that a worker used is believed to be as it was."""
REMEMBERED_ADDRESSES: Final = 4096


class LostSequence(GatewayError):
    """The endpoint of a sequence went, and its state with it."""


class Sequences:
    """The sequences of one pool, as one worker sees them. `idle` is in seconds, `clock` is that of the table."""

    def __init__(
        self,
        pool: str,
        table: SequenceTable | None = None,
        idle: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.idle = idle
        self._pool = pool
        self._table = table if table is not None else SequenceTable.open(None, 4096)
        self._clock = clock
        self._endpoints: dict[int, Endpoint] = {}
        self._since: dict[Endpoint, float] = {}
        self._addresses: dict[int, str] = {}

    def follow(self, endpoints: Iterable[Endpoint]) -> None:
        """The endpoints of the pool from now on."""
        now = self._clock()
        self._endpoints = {_place(endpoint.address): endpoint for endpoint in endpoints}
        self._since = {endpoint: self._since.get(endpoint, now) for endpoint in self._endpoints.values()}
        for place, endpoint in self._endpoints.items():
            self._addresses[place] = endpoint.address
        while len(self._addresses) > REMEMBERED_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]

    def choose(self, call: Call, candidates: Sequence[Endpoint], broken: bool = False) -> Endpoint | None:
        """Where this request of a sequence goes; None if it may go to none of the `candidates`. With `broken` these are
        not all that have the model, and a sequence that starts again does not stay on another one. Raises
        `LostSequence`, and `GatewayError` when there are too many sequences."""
        now = self._clock()
        key = self._key(call)
        entry = self._table.find(key, now)
        if entry is None:
            chosen = self._hashed(call, candidates, now)
            if chosen is None or not call.sequence_start:
                return chosen
            return self._placed(call, key, chosen, now, 0)
        endpoint = self._endpoints.get(entry.place)
        trouble = self._trouble(call, entry, endpoint, now)
        if broken and call.sequence_start and endpoint not in candidates:
            trouble = trouble or "is passed over"
        if endpoint is not None and not trouble:
            self._table.extend(entry, now + self.idle)
            return endpoint
        if not call.sequence_start:
            raise self._lost(call, key, entry.place, trouble, now)
        chosen = self._hashed(call, candidates, now)
        return None if chosen is None else self._placed(call, key, chosen, now, entry.place)

    def succeeded(self, call: Call) -> None:
        """It was answered: the pause begins, unless this was the end."""
        now = self._clock()
        key = self._key(call)
        if call.sequence_end:
            self._table.remove(key, now)
            return
        entry = self._table.find(key, now)
        if entry is not None:
            self._table.extend(entry, now + self.idle)

    def lost_by(self, call: Call, endpoint: Endpoint, error: GatewayError) -> LostSequence | None:
        """What to tell when this failure at `endpoint` was the end of the sequence, else None. When the connection ends
        while the endpoint has the request, nobody knows what became of the state."""
        if died(error):
            trouble = "ended while it had a request of it"
        elif absent(error) and not call.sequence_start:
            trouble = "no longer has the model"
        else:
            return None
        lost = self._lost(call, self._key(call), _place(endpoint.address), trouble, self._clock())
        lost.executed = True  # elsewhere it has no state, so it must not be sent again
        return lost

    # parts

    def _trouble(self, call: Call, entry: Entry, endpoint: Endpoint | None, now: float) -> str:
        """Why the sequence cannot go on at the endpoint where it is, "" if it can."""
        if endpoint is None or entry.place & LOST:
            return "is gone"
        if endpoint in call.tried and (call.sequence_start or not endpoint.channel.connected):
            return "cannot be reached"
        if entry.expires - self.idle > now - SETTLING:
            return ""
        if not endpoint.live:
            return "is not live"
        return "" if endpoint.serves(call.model, call.version) else "no longer has the model"

    def _hashed(self, call: Call, candidates: Sequence[Endpoint], now: float) -> Endpoint | None:
        left = [endpoint for endpoint in candidates if endpoint not in call.tried] if call.tried else candidates
        if call.sequence_start and len(left) > 1:
            settled = [endpoint for endpoint in left if self._since.get(endpoint, now) <= now - SETTLING]
            left = settled or left
        return by_sequence(left, call.model, call.sequence) if left else None

    def _placed(self, call: Call, key: int, chosen: Endpoint, now: float, instead_of: int) -> Endpoint:
        """Write down where it goes, or learn that another worker was first."""
        place = self._table.put(key, _place(chosen.address), now + self.idle, now, instead_of)
        return self._endpoints.get(place, chosen)

    def _lost(self, call: Call, key: int, place: int, trouble: str, now: float) -> LostSequence:
        place &= LOST - 1
        self._table.put(key, place | LOST, now + self.idle, now, place)
        address = self._addresses.get(place)
        where = f"its endpoint {address}" if address else "its endpoint"
        text = f"sequence {call.sequence} of model '{call.model}' was lost: {where} {trouble}; start it again"
        return LostSequence(Code.UNAVAILABLE, text, fault=Fault.WORKER)

    def _key(self, call: Call) -> int:
        name = f"{self._pool}\0{call.model}\0{call.sequence}".encode()
        return int.from_bytes(blake2b(name, digest_size=8).digest()) or 1


def _place(address: str) -> int:
    """An endpoint in the table: 63 bits of a hash of its address."""
    return int.from_bytes(blake2b(address.encode(), digest_size=8).digest()) >> 1 or 1


def by_sequence(candidates: Sequence[Endpoint], model: str, sequence: str) -> Endpoint:
    """The same endpoint for all requests of a sequence, in every worker, without shared state: of `candidates` that are
    not empty, one that leaves moves only its own sequences."""
    key = f"{model}\0{sequence}\0".encode()
    return max(candidates, key=lambda endpoint: blake2b(key + endpoint.address.encode(), digest_size=8).digest())
