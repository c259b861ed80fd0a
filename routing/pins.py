"""Which variant and version the live sequences were given when they started, as all workers of a node know it.

A split, a label, `latest` or the rules may mean something else by the time that the next request of a sequence comes:
its state would be left behind. So what they meant at START holds until END, in the table that also has where sequences
are (`routing.sequence_table`), under a key of route, model and sequence. A version that the client names itself is the
client's business. A request of a sequence that the table does not know goes where a request without a sequence would.

A pin outlasts the idle time of its sequence, since that is counted from answers, and is kept for a moment after END,
should the client have to send that again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NamedTuple

from routing.match import View
from routing.sequence_table import SequenceTable
from routing.sequences import LostSequence
from routing.table import Table, Told, Variant
from transcoding.status import Code, Fault

IDLE_TIMES: Final = 2
AFTER_END: Final = 5.0
"""Seconds."""
_POOL_BITS: Final = 9
_POOLS: Final = (1 << _POOL_BITS) - 1
_VERSION_BITS: Final = 47
_VERSIONS: Final = (1 << _VERSION_BITS) - 1


class Resolved(NamedTuple):
    """Where a request goes, and what to tell of that."""

    variant: Variant
    model: str
    version: str
    told: Told


class Pins:
    """The pins of one node, in a table that is shared by its workers. `clock` is that of the table."""

    def __init__(self, table: SequenceTable, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._clock = clock

    def resolve(self, route: str, table: Table, view: View, version: str, start: bool, end: bool) -> Resolved:
        """Where a request goes that belongs to `view.sequence` and names this version, "" for none. Raises
        `GatewayError`, for a sequence whose pool is gone too."""
        now = self._clock()
        key = _key(route, view)
        entry = self._table.find(key, now)
        if entry is None and not start:
            return _resolved(table.only or table.choose(view), view, version)
        if start:
            chosen = _resolved(table.only or table.choose(view), view, version)
            wanted = place_of(chosen.variant, "" if version else chosen.version)
            place = self._table.put(key, wanted, now + self._idle(chosen.variant), now, entry.place if entry else 0)
            if place == wanted:
                return chosen
        else:
            assert entry is not None
            place = entry.place
        found = self._pinned(table, view, version, place)
        if entry is not None:
            idle = self._idle(found.variant)
            self._table.extend(entry, now + (min(idle, AFTER_END) if end else idle))
        return found

    def _idle(self, variant: Variant) -> float:
        return IDLE_TIMES * variant.pool.sequences.idle

    def _pinned(self, table: Table, view: View, version: str, place: int) -> Resolved:
        variant = _find(table, place)
        if variant is None:
            text = (
                f"sequence {view.sequence} of model '{view.model}' was lost: "
                "its route no longer goes to the pool where it started; start it again"
            )
            raise LostSequence(Code.UNAVAILABLE, text, fault=Fault.WORKER)
        pinned = place & _VERSIONS
        if version or not pinned:
            return _resolved(variant, view, version)
        return Resolved(variant, *variant.pinned(view.model, str(pinned - 1)))


def _find(table: Table, place: int) -> Variant | None:
    """The variant of that name with that pool and model; should it be gone, another one with these."""
    target, found = place >> _VERSION_BITS, None
    for variant in table.variants:
        each = place_of(variant, "") >> _VERSION_BITS
        if each == target:
            return variant
        if found is None and each & _POOLS == target & _POOLS:
            found = variant
    return found


def place_of(variant: Variant, version: str) -> int:
    """A variant and a version as one cell: 8 bits of a hash of its name, 9 of one of its pool and model, which is not
    0, and the number. A version that is none, or too large to be one, is not pinned."""
    name = blake2b(variant.name.encode(), digest_size=1).digest()[0]
    pool = _hash(f"{variant.pool.name}\0{variant.model}") % _POOLS + 1
    number = int(version) + 1 if version.isdecimal() and len(version) < 16 else 0
    return (name << _POOL_BITS | pool) << _VERSION_BITS | (number if number <= _VERSIONS else 0)


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())


def _resolved(variant: Variant, view: View, version: str) -> Resolved:
    return Resolved(variant, *variant.resolve(view.model, version))


def _key(route: str, view: View) -> int:
    return _hash(f"\1{route}\0{view.model}\0{view.sequence}") or 1
