"""Where a model is loaded, and what makes room for it: pure, no I/O; the caller says what time it is.

An endpoint has room by count and, where its memory is bounded, by the sum of what its models take. Without room, the
models that were not used for longest go, but never one that is in use, that is listed to stay, or that was just loaded:
what waits for it has not come yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from config.schema import Models

SETTLE = 0.5
"""Seconds after a load in which a model is not unloaded: those that waited for it come only now."""
LONGEST_SETTLE = 5.0
"""The same for a model that nobody used since: those that waited may be late, or may have gone."""
CALM_SHARE = 0.25
"""Of `spread_wait`: with less expected wait than this at all its copies, a model has one too many."""
CALM_SECONDS = 30.0
"""How long that must last."""
SPREAD_IDLE = 30.0
"""A further copy makes room for itself only where nobody asked for something else for so long."""


class Resident(NamedTuple):
    """A model at an endpoint. `ready`: it serves, and is not on its way in or out. `used` is when it was last asked for
    and `since` when it was loaded, by the caller's clock; `pinned` if it is listed to stay."""

    ready: bool = True
    used: float = 0.0
    since: float = 0.0
    in_flight: int = 0
    pinned: bool = False

    @property
    def last(self) -> float:
        """Since when nobody asked for it."""
        return max(self.used, self.since)

    def may_go(self, now: float, idle: float = 0.0) -> bool:
        """May it be unloaded, if only what was not asked for in `idle` seconds may?"""
        at_rest = self.ready and not self.pinned and not self.in_flight
        settled = now - self.since >= (SETTLE if self.used >= self.since else LONGEST_SETTLE)
        return at_rest and settled and now - self.last >= idle


class Host(NamedTuple):
    """An endpoint: what it has, what its repository has, the seconds of work that wait there, how many models wait to
    be loaded there, and how many bytes its models take now, by measurement; 0 if nobody can tell."""

    address: str
    residents: Mapping[str, Resident]
    known: Collection[str]
    wait: float = 0.0
    queue: int = 0
    taken: int = 0


class Place(NamedTuple):
    """Load it there, when these are unloaded, in this order."""

    address: str
    evict: tuple[str, ...] = ()


class Busy(NamedTuple):
    """There is no room now, and the reason."""

    reason: str


class TooLarge(NamedTuple):
    """There never is, and the reason."""

    reason: str


class Copy(NamedTuple):
    """A model at an endpoint that is to be unloaded."""

    address: str
    model: str


class Placement:
    """The choices for one pool. `sizes` has what each model takes, in bytes, where that is known."""

    def __init__(self, models: Models, sizes: Mapping[str, int]) -> None:
        self._models = models
        self._sizes = sizes
        self._calm_since: dict[str, float] = {}

    def size(self, model: str) -> int:
        """Bytes that a model takes, or may take: one that was never measured counts as the largest that was."""
        known = self._sizes.get(model)
        return known if known is not None else max(self._sizes.values(), default=0)

    def place(self, model: str, hosts: Iterable[Host], now: float, idle: float = 0.0) -> Place | Busy | TooLarge:
        """Where to load `model` among these endpoints, which have it in their repository and not loaded: where there is
        room, else where what goes was not used for `idle` seconds; of those the least busy with loads, then the one
        whose models were not used for longest, then the one with the least waiting work."""
        bound = self._models.memory
        if bound is not None and self.size(model) > bound:
            return TooLarge(f"it takes {self.size(model)} bytes, and an endpoint has {bound} for models")
        found = []
        for host in hosts:
            evict = self._make_room(model, host, now, idle)
            if evict is not None:
                latest = max((host.residents[each].last for each in evict), default=0.0)
                order = (bool(evict), host.queue, latest, host.wait, len(host.residents), host.address)
                found.append((order, evict))
        if not found:
            return Busy("no room: every loaded model is in use")
        best, evict = min(found)
        return Place(best[-1], evict)

    def _make_room(self, model: str, host: Host, now: float, idle: float) -> tuple[str, ...] | None:
        """What must go from an endpoint, the longest unused first; None if even that is not enough."""
        bound = self._models.memory
        count = len(host.residents) + 1 - self._models.max_loaded
        excess = self._taken(host) + self.size(model) - bound if bound is not None else 0
        may_go = [name for name, each in host.residents.items() if each.may_go(now, idle)]
        may_go.sort(key=lambda name: (host.residents[name].last, name))
        evict = []
        while (count > 0 or excess > 0) and may_go:
            name = may_go.pop(0)
            evict.append(name)
            count -= 1
            excess -= self.size(name)
        return tuple(evict) if count <= 0 and excess <= 0 else None

    def _taken(self, host: Host) -> int:
        """Bytes that its models take: models grow with use, and what was never used has yet to."""
        return max(host.taken, sum(map(self.size, host.residents)))

    def spread(self, hosts: Sequence[Host], now: float) -> tuple[str, Place] | None:
        """The busiest of the models whose every copy has more than `spread_wait` seconds of work before it, and where a
        further one is loaded: an endpoint that has less than half of that. None if there is no such model or place."""
        best: tuple[int, str, Place] | None = None
        for model in {name for host in hosts for name in host.residents}:
            copies = [host for host in hosts if model in host.residents]
            here = [host.residents[model] for host in copies]
            wait = min(host.wait for host in copies)
            busy = sum(each.in_flight for each in here)
            if wait <= self._models.spread_wait or not busy or not all(each.ready for each in here):
                continue
            others = [
                host for host in hosts if model in host.known and model not in host.residents and host.wait < wait / 2
            ]
            place = self.place(model, others, now, SPREAD_IDLE)
            if isinstance(place, Place) and (best is None or busy > best[0]):
                best = busy, model, place
        return None if best is None else best[1:]

    def calm(self, hosts: Sequence[Host], now: float) -> list[Copy]:
        """Copies that are not needed any more: of each model whose copies have had little work before them for a while,
        the one that was not used for longest. At least one stays."""
        surplus = []
        for model in {name for host in hosts for name in host.residents}:
            copies = [host for host in hosts if model in host.residents]
            most = max(host.wait for host in copies)
            if len(copies) < 2 or most >= CALM_SHARE * self._models.spread_wait:
                self._calm_since.pop(model, None)
            elif now - self._calm_since.setdefault(model, now) >= CALM_SECONDS:
                may_go = [host for host in copies if host.residents[model].may_go(now)]
                if may_go:
                    least = min(may_go, key=lambda host: (host.residents[model].last, host.address))
                    surplus.append(Copy(least.address, model))
                    self._calm_since[model] = now
        return surplus

    def overflow(self, hosts: Iterable[Host], now: float) -> list[Copy]:
        """What must go, the longest unused first, where models turned out to take more than there is."""
        found = []
        bound = self._models.memory
        for host in hosts if bound is not None else ():
            excess = self._taken(host) - (bound or 0)
            may_go = sorted((each.last, name) for name, each in host.residents.items() if each.may_go(now))
            while excess > 0 and may_go:
                _, name = may_go.pop(0)
                excess -= self.size(name)
                found.append(Copy(host.address, name))
        return found

    def idle(self, hosts: Iterable[Host], now: float) -> list[Copy]:
        """What nobody asked for in `idle_unload` seconds, the longest unused first."""
        idle = self._models.idle_unload
        if idle is None:
            return []
        found = [
            (each.last, Copy(host.address, name))
            for host in hosts
            for name, each in host.residents.items()
            if each.may_go(now, idle)
        ]
        return [copy for _, copy in sorted(found)]
