"""Splits: which variant of a route takes a request, by weight, and the same one for the same key.

A key's salted hash falls into one of 10,000 buckets, and a table made with the snapshot says whose each bucket is. A
request without a key takes a bucket by chance.

The table is made by exponential clocks, which is rendezvous hashing with weights (Thaler and Ravishankar 1998;
Schindler and Ristenpart's "weighted" form): in each bucket every variant has a clock that rings after E / weight, E
being exponential, and the first to ring has the bucket. Growing one weight makes one clock faster and leaves the order
of all others, so buckets only move *into* the variant that grows, and a variant that shrinks, or goes, only loses some.
No table can have that and exact shares of buckets at once when there are three variants (moving one bucket from a to b
to c, and from a straight to c, would have to move the same one, whatever came before), so the draws are spread instead:
each variant has each of the 10,000 quantiles of E once, and the quantiles of any two variants lie over the buckets like
the columns of an orthogonal array of strength two (Bose 1938; Tang 1993 for the Latin hypercube from it). Shares are
then within 0.2 points of what two weights ask for, and within 0.7 for more variants, where independent draws would be
off by up to 1.5.

Draws depend on nothing but salt and name: every worker and every gateway has the same table, and so has a restart. The
names are all that the split lists, be their weight 0; where two of them ask for one column of the array, which happens
to one pair in a hundred, the one that is listed later takes the next free column.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from config.routes import Sticky
from routing.match import View

BUCKETS = 10_000
_LEVELS = 101  # the least prime whose square is at least BUCKETS
_SCALE = 2**40  # integers keep the clocks equal on machines whose logarithms differ in the last bit
_NEVER = np.iinfo(np.int64).max
_TABLES = 256


class Share(NamedTuple):
    """A variant's name and weight; a weight of 0 gets nothing."""

    name: str
    weight: int


class Split:
    """Chooses among shares; `random` gives floats in [0, 1)."""

    __slots__ = ("_random", "_seed", "_table", "key")

    def __init__(self, salt: str, shares: Sequence[Share], sticky: Sticky | None, random: Callable[[], float]) -> None:
        """Raises ValueError when no weight is above 0."""
        self.key: Key = key_of(sticky)
        self._table: array[int] = table(salt, tuple(shares))
        self._seed = xxh3_64_intdigest(salt.encode())
        self._random = random

    def bucket(self, view: View) -> int:
        """The bucket of a request, by its key or the sequence it belongs to; by chance if it has neither."""
        key = self.key.of(view) or view.sequence.encode()
        if not key:
            return int(self._random() * BUCKETS)
        return xxh3_64_intdigest(key, self._seed) % BUCKETS

    def choose(self, view: View) -> int:
        """The position of the share that takes this request."""
        return self._table[self.bucket(view)]

    def owner(self, bucket: int) -> int:
        """The position of the share whose bucket this is."""
        return self._table[bucket]


class Key:
    """What keeps a client with its variant: nothing. `says` tells it to a person."""

    __slots__ = ("says",)

    def __init__(self, says: str = "") -> None:
        self.says = says

    def of(self, view: View) -> bytes:
        """The key of a request, b"" when it has none."""
        return b""


class HeaderKey(Key):
    """The value of a header."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__(f"header {name.lower()}")
        self._name = name.lower().encode()

    def of(self, view: View) -> bytes:
        """The value; an empty one is none."""
        return view.headers.get(self._name, b"")


class CookieKey(Key):
    """The value of a cookie, as RFC 6265 §4.2 has it."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__(f"cookie {name}")
        self._name = name.encode()

    def of(self, view: View) -> bytes:
        """The value of the first cookie of this name."""
        cookies = view.headers.get(b"cookie")
        if cookies is None or self._name not in cookies:
            return b""
        for pair in cookies.split(b";"):
            name, separator, value = pair.partition(b"=")
            if separator and name.strip() == self._name:
                return value.strip()
        return b""


class PrincipalKey(Key):
    """Who calls."""

    __slots__ = ()

    def of(self, view: View) -> bytes:
        """The principal."""
        return view.principal.encode()


class AddressKey(Key):
    """Where the client's connection comes from."""

    __slots__ = ()

    def of(self, view: View) -> bytes:
        """The address without its port."""
        return view.address.encode()


def key_of(sticky: Sticky | None) -> Key:
    """The key that a split is sticky by."""
    if sticky is None:
        return Key()
    if sticky.header is not None:
        return HeaderKey(sticky.header)
    if sticky.cookie is not None:
        return CookieKey(sticky.cookie)
    if sticky.principal:
        return PrincipalKey("principal")
    return AddressKey("client address") if sticky.address else Key()


@lru_cache(maxsize=_TABLES)
def table(salt: str, shares: tuple[Share, ...]) -> array[int]:
    """The position of the share that each bucket belongs to. Raises ValueError when no weight is above 0."""
    if not any(share.weight > 0 for share in shares):
        raise ValueError("expected a variant with a weight above 0")
    columns = _columns(salt, shares)
    first = np.full(BUCKETS, np.inf)
    owner = np.zeros(BUCKETS, np.uint16)
    for position, share in enumerate(shares):
        if share.weight > 0:
            rings = _clock(salt, share.name, columns[position]) / share.weight
            wins = rings < first
            first[wins], owner[wins] = rings[wins], position
    return array("H", owner.tobytes())


def _columns(salt: str, shares: Sequence[Share]) -> list[int]:
    """A column of the array for each share, -1 for those that come when all are taken."""
    columns: list[int] = []
    free = set(range(_LEVELS))
    for share in shares:
        wanted = _seed(salt, share.name, "column") % _LEVELS
        column = next((each for step in range(_LEVELS) if (each := (wanted + step) % _LEVELS) in free), -1)
        free.discard(column)
        columns.append(column)
    return columns


def _clock(salt: str, name: str, column: int) -> npt.NDArray[np.int64]:
    """When this variant's clock rings in each bucket if its weight is 1: each quantile of the exponential once."""
    noise = _noise(_seed(salt, name, "order"), BUCKETS)
    if column >= 0:
        bucket = np.arange(BUCKETS)
        level = (bucket % _LEVELS + column * (bucket // _LEVELS)) % _LEVELS
        rank = np.argsort(_noise(_seed(salt, name, "levels"), _LEVELS), kind="stable")
        order = np.lexsort((noise, rank[level]))
    else:
        order = np.argsort(noise, kind="stable")
    clock = np.empty(BUCKETS, np.int64)
    clock[order] = _quantiles()
    return clock


@lru_cache(maxsize=1)
def _quantiles() -> npt.NDArray[np.int64]:
    return np.array([round(-log((rank + 0.5) / BUCKETS) * _SCALE) for rank in range(BUCKETS)], np.int64)


def _seed(salt: str, name: str, what: str) -> int:
    return xxh3_64_intdigest(f"{salt}\0{name}\0{what}".encode())


def _noise(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """`count` numbers of SplitMix64 (Steele, Lea and Flood 2014), which no version of a library will change."""
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
