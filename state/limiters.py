"""Who keeps the allowance of a caller: this node (`Local`), the store alone (`Exact`), or the store in batches
(`Leased`).

What is known without asking is asked first, by `at_once`; what only the store knows is awaited by `ask`. A refusal by
the store is remembered, since what it said of a window only gets better with time: a caller that is refused a thousand
times a second asks the store once a second. The memory of each is bounded.

**How wrong `Leased` may be.** A worker holds at most L units that the store has charged already, for at most `HOLD` = h
seconds after it asked for them. With W workers on all nodes, no time of w seconds has more than

    rate × w + burst + min(rate × h, W × L)

units: those were charged in w + h seconds, or in w seconds beside what all workers held when these began. The other way
round, a caller may be refused up to W × L units too early, those that workers hold unused. L is small for callers that
ask little: a batch is twice the one before when that was used up within h, and half of it otherwise.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, Protocol, TypeVar

from state import Argument, State, StateError
from state.gcra import Taken, Windows, settle_script, take_script, wait_for
from state.limit_table import LimitTable

HOLD: Final = 0.2
"""Seconds for which leased units may be spent."""
LEASE_SHARE: Final = 0.05
"""Of a burst, what one worker takes ahead at most."""
TRUST: Final = 1.0
"""Seconds for which a refusal is remembered: the store may be told to forget what was used."""
REMEMBERED: Final = 65_536

T = TypeVar("T")
Spawn = Callable[[Coroutine[Any, Any, Any], str], "asyncio.Task[Any]"]


class Limiter(Protocol):
    """Charges units to a key."""

    def at_once(self, key: str, windows: Windows, units: int) -> Taken | None:
        """What becomes of a wish for so many units, all or none; None if the store must be asked."""
        ...

    async def ask(self, key: str, windows: Windows, units: int) -> Taken:
        """What the store says to it. Raises `StateError`."""
        ...

    async def settle(self, key: str, windows: Windows, delta: int, idles: Sequence[float]) -> None:
        """`gcra.settle`. Raises `StateError`."""
        ...


class Local:
    """All workers of this node, and nobody else."""

    def __init__(self, table: LimitTable) -> None:
        self._table = table

    def at_once(self, key: str, windows: Windows, units: int) -> Taken:
        """It is known at once."""
        return self._table.take(key, windows, units, units)

    async def ask(self, key: str, windows: Windows, units: int) -> Taken:
        """The same."""
        return self._table.take(key, windows, units, units)

    async def settle(self, key: str, windows: Windows, delta: int, idles: Sequence[float]) -> None:
        """At once, too."""
        self._table.settle(key, windows, delta, idles)


class Exact:
    """The store is asked for each call that it might allow, by one script. Nothing is multiplied by anything."""

    def __init__(self, state: State, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = _Store(state, clock)
        self._refused: Recent[_Known] = Recent(REMEMBERED)

    def at_once(self, key: str, windows: Windows, units: int) -> Taken | None:
        """A refusal, where one is remembered that still holds."""
        known = self._refused.get(key)
        return None if known is None else known.refusal(windows, units, self._store.clock())

    async def ask(self, key: str, windows: Windows, units: int) -> Taken:
        """Ask the store. Raises `StateError`."""
        sent = self._store.clock()
        taken = await self._store.take(key, windows, units, units)
        if not taken.granted:
            self._refused.put(key, _Known(sent, taken.leads))
        return taken

    async def settle(self, key: str, windows: Windows, delta: int, idles: Sequence[float]) -> None:
        """At the store. Raises `StateError`."""
        await self._store.settle(key, windows, delta, idles)


class Leased:
    """The store is asked for batches, of at most `most` units (0: a share of the burst). See above for how wrong that
    is."""

    def __init__(self, state: State, spawn: Spawn, most: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = _Store(state, clock)
        self._clock = clock
        self._spawn = spawn
        self._most = most
        self._leases: Recent[_Lease] = Recent(REMEMBERED)

    def at_once(self, key: str, windows: Windows, units: int) -> Taken | None:
        """From what is held, or a refusal that still holds."""
        lease = self._leases.get(key)
        return None if lease is None else lease.spend(windows, units, self._clock())

    async def ask(self, key: str, windows: Windows, units: int) -> Taken:
        """Wait for a batch, with all others that want one of the same key. Raises `StateError`."""
        lease = self._leases.get(key)
        if lease is None:
            lease = _Lease()
            self._leases.put(key, lease)
        lease.wanted += units
        try:
            while True:
                if lease.renewal is None:
                    lease.renewal = self._spawn(self._renew(lease, key, windows, units), "lease of a limit")
                error = await asyncio.shield(lease.renewal)
                if error is not None:
                    raise StateError(str(error))
                taken = lease.spend(windows, units, self._clock(), fresh=True)
                if taken is not None:
                    return taken
        finally:
            lease.wanted -= units

    async def settle(self, key: str, windows: Windows, delta: int, idles: Sequence[float]) -> None:
        """At the store. Raises `StateError`."""
        await self._store.settle(key, windows, delta, idles)

    async def _renew(self, lease: _Lease, key: str, windows: Windows, units: int) -> StateError | None:
        """Fetch a batch; the answer is what went wrong."""
        await asyncio.sleep(0)  # who comes in the same turn of the loop is counted
        sent = self._clock()
        most = self._most or max(1, int(LEASE_SHARE * min(burst for _, burst in windows)))
        missing = max(1, units - lease.held)
        wanted = max(lease.wanted - lease.held, missing, lease.size(sent, most))
        try:
            taken = await self._store.take(key, windows, wanted, missing)
        except StateError as error:
            return error
        finally:
            lease.renewal = None
        lease.renewed(taken, sent)
        return None


class _Known:
    """What the store said of the windows of a key to what was `sent` then."""

    __slots__ = ("leads", "sent")

    def __init__(self, sent: float, leads: tuple[float, ...]) -> None:
        self.sent = sent
        self.leads = leads

    def refusal(self, windows: Windows, units: int, now: float) -> Taken | None:
        """The refusal that the store would give, too, if that is certain."""
        past = now - self.sent
        if past >= TRUST or len(self.leads) != len(windows):
            return None
        leads = tuple(max(0.0, lead - past) for lead in self.leads)
        wait = wait_for(leads, windows, units)
        return Taken(0, wait, leads, ()) if wait > 0.0 else None


class _Lease:
    """Units that the store has charged already: `held` until `expires`. `wanted` are those that are waited for."""

    __slots__ = ("_batch", "_idles", "expires", "held", "known", "renewal", "wanted")

    def __init__(self) -> None:
        self.held = 0
        self.expires = 0.0
        self.wanted = 0
        self.known: _Known | None = None
        self.renewal: asyncio.Task[StateError | None] | None = None
        self._batch = 0
        self._idles: tuple[float, ...] = ()

    def spend(self, windows: Windows, units: int, now: float, fresh: bool = False) -> Taken | None:
        """Units of those that are held, a refusal, or None if the store must be asked. A `fresh` answer of the store
        may be spent even if it took longer than it may be held."""
        if self.held and now >= self.expires and not fresh:
            self.held = 0
        if self.held >= units:
            self.held -= units
            return tuple.__new__(Taken, (units, 0.0, self._leads(now), self._idles))  # as `state.keys.parts` does
        return None if self.known is None else self.known.refusal(windows, units - self.held, now)

    def size(self, now: float, most: int) -> int:
        """How large the next batch is to be."""
        if now < self.expires:
            self._batch = min(2 * self._batch, most)
        else:
            self._batch = self._batch // 2 if now < self.expires + HOLD else 0
        self._batch = max(1, self._batch)
        return self._batch

    def renewed(self, taken: Taken, sent: float) -> None:
        """The store gave units, or none."""
        if taken.granted:
            expires = sent + HOLD
            self.expires = min(self.expires, expires) if self.held and sent < self.expires else expires
            self.held = (self.held if self.expires < expires else 0) + taken.granted
            self._idles = taken.idles
        self.known = _Known(sent, taken.leads)

    def _leads(self, now: float) -> tuple[float, ...]:
        if self.known is None:
            return ()
        past, leads = now - self.known.sent, self.known.leads
        if len(leads) == 1:  # as nearly all have it, at a third of the cost
            lead = leads[0] - past
            return (lead if lead > 0.0 else 0.0,)
        return tuple([max(0.0, lead - past) for lead in leads])


class _Store:
    """The scripts at the store."""

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._take = state.script("limit_take", take_script())
        self._settle = state.script("limit_settle", settle_script())
        self._name = state.key

    async def take(self, key: str, windows: Windows, wanted: int, least: int) -> Taken:
        """Up to `wanted` units, `least` or none. Raises `StateError`."""
        answer = await self._take((self._name("limit", key),), (wanted, least, *_arguments(windows)))
        return _taken(answer, windows)

    async def settle(self, key: str, windows: Windows, delta: int, idles: Sequence[float]) -> None:
        """Charge or give back. Raises `StateError`."""
        flat = _arguments(windows)
        args: list[Argument] = [delta]
        for place, idle in enumerate(idles):
            args += (*flat[2 * place : 2 * place + 2], repr(idle))
        await self._settle((self._name("limit", key),), args)


@lru_cache(4096)
def _arguments(windows: Windows) -> tuple[Argument, ...]:
    """As the scripts take them: intervals in microseconds, and bursts."""
    return tuple(repr(float(each)) for interval, burst in windows for each in (interval * 1e6, burst))


def _taken(answer: Any, windows: Windows) -> Taken:
    """What a script answered. Raises `StateError` for what none would."""
    try:
        granted, wait, *rest = (float(each) for each in answer)
    except (TypeError, ValueError) as error:
        wrong = StateError(f"expected numbers, got {str(answer)[:100]}")
        wrong.__cause__ = error  # mypyc forgets what stands behind `from`
        raise wrong  # noqa: B904 - it is done by hand
    if len(rest) != 2 * len(windows):
        raise StateError(f"expected {2 + 2 * len(windows)} numbers, got {len(rest) + 2}")
    leads = tuple(each / 1e6 for each in rest[::2])
    return Taken(int(granted), wait / 1e6 if wait >= 0 else math.inf, leads, tuple(rest[1::2]))


class Recent(Generic[T]):
    """Values by key, of which the last ones are kept: at least half of `most`, and no more than that."""

    __slots__ = ("_half", "_new", "_old")

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._new: dict[str, T] = {}
        self._old: dict[str, T] = {}

    def get(self, key: str) -> T | None:
        """What was put there, if it is still known."""
        value = self._new.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value)
        return value

    def put(self, key: str, value: T) -> None:
        """Remember it. What was not asked for since long goes."""
        if len(self._new) >= self._half:
            self._old, self._new = self._new, {}
        self._new[key] = value

    def __len__(self) -> int:
        return len(self._new) + len(self._old)
