"""Calls that wait for their turn: by class, and within a class fair between tenants.

A class is always served before the less urgent ones. Within a class the tenants' queues are served by start-time fair
queueing (Goyal, Vin, Cheng 1996): the tenant with the lowest start tag is next, its next tag is one further, and a
tenant that comes anew begins at the tag that is served now; so tenants that wait have the same share whatever they
send, and nobody saves up a share by not asking.

The queue has room for so many calls and so many bytes. When it is full, a call of a more urgent class takes the place
of one of the least urgent; within a class, the newest of the tenant of whom most wait goes, if that is not the tenant
that asks. What came too late is taken out before it is served. Each operation takes O(log n) of the waiting tenants, or
O(1).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal

MOST_REMEMBERED: Final = 4096
"""Tenants that had their turn and left; more than that begin as if they came anew."""
_SLACK: Final = 64

End = Literal["run", "late", "shed"]
"""What became of a call that waited: its turn came, its time was over, or it had to make room."""


class Waiting:
    """One call that waits: of a `tenant`, in the class of that `rank` (0 is the most urgent), with so many bytes. After
    `until`, on the clock of the caller, it is of no use to serve it. `settle` is told once what became of it, and says
    whether anybody is there to hear it; `ended` is what it was told."""

    __slots__ = ("_tell", "ended", "rank", "size", "tenant", "until")

    def __init__(self, tenant: str, rank: int, size: int, until: float, tell: Callable[[End], bool]) -> None:
        self.ended: End | None = None
        self._tell = tell
        self.tenant = tenant
        self.rank = rank
        self.size = size
        self.until = until

    def settle(self, end: End) -> bool:
        """It does not wait any more, and this is why."""
        self.ended = end
        return self._tell(end)


class FairQueue:
    """The calls that wait for one thing. `requests` and `bytes` are how many there may be."""

    __slots__ = ("_classes", "_requests", "_room", "bytes", "count")

    def __init__(self, classes: int, requests: int, size: int) -> None:
        self._classes = [_Class() for _ in range(classes)]
        self._requests = requests
        self._room = size
        self.count = 0
        self.bytes = 0

    @property
    def rank(self) -> int:
        """The most urgent class in which anything waits; the number of classes if nothing does."""
        for rank, each in enumerate(self._classes):
            if each.count:
                return rank
        return len(self._classes)

    def ahead(self, rank: int) -> int:
        """How many wait that are as urgent or more so."""
        return sum(each.count for each in self._classes[: rank + 1])

    def waiting(self, rank: int) -> int:
        """How many wait in this class."""
        return self._classes[rank].count

    def push(self, call: Waiting) -> list[Waiting] | None:
        """Let a call wait; the answer are those that had to go for it. None if there is no room, and then none went."""
        short = self.bytes + call.size - self._room
        if short > 0 and sum(each.bytes for each in self._classes[call.rank + 1 :]) < short:
            return None
        victims = []
        while self.count >= self._requests or self.bytes + call.size > self._room:
            victim = self._victim(call)
            if victim is None:
                return None  # nothing went: a place for one call is all that one victim has to make
            self.remove(victim)
            victims.append(victim)
        self._classes[call.rank].push(call)
        self.count += 1
        self.bytes += call.size
        return victims

    def pop(self, now: float) -> tuple[Waiting | None, list[Waiting]]:
        """Who is next, None if nobody waits, and those before it whose time is over."""
        late: list[Waiting] = []
        for each in self._classes:
            while each.count:
                call = each.pop()
                self.count -= 1
                self.bytes -= call.size
                if call.until >= now:
                    return call, late
                late.append(call)
        return None, late

    def remove(self, call: Waiting) -> None:
        """It does not wait any more. Raises `KeyError` if it does not wait."""
        self._classes[call.rank].remove(call)
        self.count -= 1
        self.bytes -= call.size

    def _victim(self, call: Waiting) -> Waiting | None:
        """Who is to make room for this call."""
        lowest = max((rank for rank, each in enumerate(self._classes) if each.count), default=-1)
        if lowest < call.rank:
            return None
        tenants = self._classes[lowest]
        return tenants.newest_of_longest(call.tenant if lowest == call.rank else None)


class _Tenant:
    """The calls of one tenant, the oldest first. `tag` is where the first of them starts; `listed` that the heap has
    it."""

    __slots__ = ("calls", "listed", "name", "tag")

    def __init__(self, name: str, tag: float) -> None:
        self.name = name
        self.tag = tag
        self.calls: OrderedDict[Waiting, None] = OrderedDict()
        self.listed = False


class _Class:
    """One class. Tenants are in a heap by tag, and in sets by how many of their calls wait."""

    __slots__ = ("_heap", "_latest", "_left", "_lengths", "_longest", "_now", "_sequence", "_tenants", "bytes", "count")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self._now = self._latest = 0.0
        self._sequence = 0
        self._longest = 0
        self._tenants: dict[str, _Tenant] = {}
        self._left: dict[str, float] = {}
        self._heap: list[tuple[float, int, _Tenant]] = []
        self._lengths: dict[int, dict[str, None]] = {}

    def push(self, call: Waiting) -> None:
        tenant = self._tenants.get(call.tenant)
        if tenant is None:
            tag = max(self._now, self._left.pop(call.tenant, 0.0))
            tenant = self._tenants[call.tenant] = _Tenant(call.tenant, tag)
            self._list(tenant)
        self._count(tenant, 1)
        tenant.calls[call] = None
        self.bytes += call.size

    def pop(self) -> Waiting:
        """The next one; there is one."""
        while True:
            _, _, tenant = heapq.heappop(self._heap)
            tenant.listed = False
            if tenant.calls:
                break
        call, _ = tenant.calls.popitem(last=False)
        self._now = tenant.tag
        tenant.tag += 1.0
        self._gone(tenant, call)
        if tenant.calls:
            self._list(tenant)
        return call

    def remove(self, call: Waiting) -> None:
        tenant = self._tenants[call.tenant]
        del tenant.calls[call]
        self._gone(tenant, call)

    def newest_of_longest(self, asks: str | None) -> Waiting | None:
        """The newest call of the tenant of whom most wait; None if that is who `asks`, or has no more than it would."""
        name = next(iter(self._lengths[self._longest]))
        if asks is not None:
            own = self._tenants.get(asks)
            if self._longest <= (len(own.calls) if own is not None else 0) + 1:
                return None
        return next(reversed(self._tenants[name].calls))

    def _gone(self, tenant: _Tenant, call: Waiting) -> None:
        """A call was taken out of its tenant's."""
        self.bytes -= call.size
        self._count(tenant, -1, 1)
        if not tenant.calls:
            del self._tenants[tenant.name]
            self._leave(tenant)
        if not self.count:
            self._rest()

    def _count(self, tenant: _Tenant, by: int, before: int = 0) -> None:
        """One more of a tenant's calls waits, or one less; `before` is how many were taken out already."""
        self.count += by
        length = len(tenant.calls) + before
        if length:
            same = self._lengths[length]
            del same[tenant.name]
            if not same:
                del self._lengths[length]
        length += by
        if length:
            self._lengths.setdefault(length, {})[tenant.name] = None
        if length > self._longest or self._longest not in self._lengths:
            self._longest = length

    def _list(self, tenant: _Tenant) -> None:
        self._sequence += 1
        tenant.listed = True
        heapq.heappush(self._heap, (tenant.tag, self._sequence, tenant))
        if len(self._heap) > 2 * len(self._tenants) + _SLACK:
            self._heap = [each for each in self._heap if each[2].calls or each[2] is tenant]
            heapq.heapify(self._heap)

    def _leave(self, tenant: _Tenant) -> None:
        """Remember the tag of a tenant that has used its turn, until that is past."""
        self._latest = max(self._latest, tenant.tag)
        if tenant.tag > self._now:
            if len(self._left) >= MOST_REMEMBERED:
                self._left = {name: tag for name, tag in self._left.items() if tag > self._now}
            if len(self._left) < MOST_REMEMBERED:
                self._left[tenant.name] = tenant.tag

    def _rest(self) -> None:
        """Nobody waits: all begin anew, at the latest tag that there was."""
        self._now = self._latest
        self._left.clear()
        self._heap.clear()
