"""Which gateways share the endpoints of each pool, as they tell one another in the state store.

Once a second control writes its node and its load down and reads those of all others, in one script, by the store's own
clock; who was not heard of for `LIFE` is gone. All read the same, in the same order, so that their shares
(`routing.aperture`) fit together. Which gateways share a pool, `gateway.control.groups` says.

A load is sticky: it is announced anew only when it left the step that it was in, so that shares rest while traffic
does. While the store is away the last places hold for `HELD`; then each gateway is alone, which is right by itself and
only more crowded. When the store is back, places are taken when all had the time to say that they are there.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from gateway.world import Place, Places
from routing.aperture import STEPS, relative
from state import State, StateError

INTERVAL: Final = 1.0
LIFE: Final = 5.0
"""Seconds without an announcement after which a gateway is gone."""
HELD: Final = 10.0
"""Seconds without an answer of the store after which a gateway takes itself to be alone."""
GATHERING: Final = 2.5
"""Seconds after an outage in which all come back: an interval, and the second at most between two connections."""
AVERAGED: Final = 8.0
"""Seconds of load that count: workers report once a second, so one more or less is seen in any single one."""
IDLE: Final = 0.001
"""A lower load is none: gateways without traffic are all alike, whoever had some before."""
STICKY: Final = 2.0 ** (1 / STEPS)
ALONE: Final = Place()

ANNOUNCE: Final = """
local time = redis.call('TIME')
local now, life = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
local answers, unknown = {}, 0
for at, key in ipairs(KEYS) do
  unknown = unknown + redis.call('HSET', key, ARGV[1], string.format('%.0f ', now + life) .. ARGV[2 + at])
  redis.call('PEXPIRE', key, 2 * life)
  local all, live = redis.call('HGETALL', key), {}
  for place = 1, #all, 2 do
    local ends, load = string.match(all[place + 1], '^(%d+) (.+)$')
    ends = tonumber(ends)
    if ends and ends > now and ends <= now + 2 * life then
      live[#live + 1] = all[place]
      live[#live + 1] = load
    else
      redis.call('HDEL', key, all[place])
    end
  end
  answers[at] = live
end
return {unknown, answers}
"""
"""KEYS are pools, ARGV the node, its life in milliseconds, and its load in each pool; the answer is at how many of them
it was not known, and nodes and loads of each. A life that ends far off was written before the clock stepped back."""

_log = logging.getLogger(__name__)


class Load:
    """The load of this gateway in one pool, in seconds of work in a second. `told` is what is announced."""

    def __init__(self) -> None:
        self.told = 0.0
        self._mean = 0.0
        self._offered: float | None = None

    def see(self, offered: float, seconds: float) -> None:
        """So much work was sent up to now, `seconds` after the last look."""
        before, self._offered = self._offered, offered
        if before is None or seconds <= 0.0:
            return
        self._mean += (1.0 - math.exp(-seconds / AVERAGED)) * (max(0.0, offered - before) / seconds - self._mean)
        now = self._mean if self._mean >= IDLE else 0.0
        if not self.told / STICKY < now < self.told * STICKY:
            self.told = now


class Members:
    """The gateways at each pool of `groups`, of which this one is `node`; none are looked for where there are no
    groups. `offered` tells how many seconds of work were ever sent to each pool, and `publish` gets the places whenever
    a share changes."""

    def __init__(
        self,
        state: State,
        node: str,
        groups: Mapping[str, str],
        offered: Callable[[], Mapping[str, float]],
        publish: Callable[[Places], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._state = state
        self._node = node
        self._groups = groups
        self._offered = offered
        self._publish = publish
        self._clock = clock
        self._announce = state.script("members", ANNOUNCE)
        self._loads = {pool: Load() for pool in groups}
        self._members: dict[str, dict[str, float]] = {}
        self._told: dict[str, Place] | None = None
        self._looked = self._heard = clock()
        self._gathered = -math.inf
        self._away = self._known = False

    async def run(self) -> None:
        """Announce this gateway until cancelled, if there is a pool that may be shared."""
        while self._groups:
            await self.look()
            await asyncio.sleep(INTERVAL * random.uniform(0.9, 1.1))

    async def look(self) -> None:
        """Announce it once, and take over who is there."""
        self._measure()
        loads = [f"{self._loads[pool].told:.6g}" for pool in self._groups]
        try:
            unknown, answers = await self._announce(self._keys(), [self._node, int(LIFE * 1000), *loads])
        except StateError as error:
            self._missed(error)
            return
        now = self._clock()
        if self._away or (unknown and self._known):  # it was away, or it forgot all, or this process stood still
            self._gathered = now + GATHERING
        self._away, self._known = False, True
        if now >= self._gathered:
            self._heard = now
            self._take({pool: members_of(answer) for pool, answer in zip(self._groups, answers, strict=True)})
        else:
            self._lapse(now)

    def _measure(self) -> None:
        now, offered = self._clock(), self._offered()
        for pool, load in self._loads.items():
            load.see(offered.get(pool, 0.0), now - self._looked)
        self._looked = now

    def _missed(self, error: StateError) -> None:
        self._away = True
        self._lapse(self._clock(), str(error))

    def _lapse(self, now: float, why: str = "the state store is only just back") -> None:
        """What was heard too long ago does not count any more."""
        if now < self._heard + HELD:
            return
        if any(len(each) > 1 for each in self._members.values()):
            _log.warning("other gateways are not known any more, all endpoints are this one's own: %s", why)
        self._take({})

    def _take(self, members: dict[str, dict[str, float]]) -> None:
        """These are there; tell of it if shares change by that."""
        for pool in self._groups if members else ():
            count = len(members[pool])
            if count != len(self._members.get(pool, {self._node: 0.0})):
                _log.info("gateways at pool %s: %d", pool, count, extra={"pool": pool, "members": [*members[pool]]})
        self._members = members
        places = {pool: self.place(pool) for pool in self._groups}
        if self._told is None or any(_share(self._told[pool]) != _share(place) for pool, place in places.items()):
            self._told = places
            self._publish(Places(places))

    def place(self, pool: str) -> Place:
        """This gateway's place in a pool now."""
        members = self._members.get(pool, {})
        if self._node not in members:
            return ALONE
        return Place([*members].index(self._node), tuple(members.values()))

    async def leave(self) -> None:
        """Tell the others that this gateway ends."""
        try:
            await asyncio.gather(*(self._state.do("HDEL", key, self._node) for key in self._keys()))
        except StateError as error:
            _log.info("the other gateways are not told of the end of this one: %s", error)

    def describe(self, pool: str) -> dict[str, Any]:
        """For `/v1/fleet`: which of how many gateways this one is, and the names and loads of all."""
        place = self.place(pool)
        names = [*self._members[pool]] if place is not ALONE else [self._node]
        return {"node": place.node, "count": len(place.loads), "names": names, "loads": [*place.loads]}

    def counts(self) -> dict[tuple[str, ...], float]:
        """How many gateways are at each pool that may be shared."""
        return {(pool,): float(len(self.place(pool).loads)) for pool in self._groups}

    def _keys(self) -> list[str]:
        return [self._state.key("{members}", group) for group in self._groups.values()]


def _share(place: Place) -> tuple[int, tuple[float, ...]]:
    return place.node, relative(place.loads)


def members_of(answer: list[bytes]) -> dict[str, float]:
    """The loads by node, in the order of all gateways; those without a load that is one are left out."""
    found = {}
    for node, load in zip(answer[::2], answer[1::2], strict=True):
        try:
            value = float(load)
        except ValueError:
            continue
        if 0.0 <= value < math.inf:
            found[node.decode(errors="replace")] = value
    return dict(sorted(found.items()))
