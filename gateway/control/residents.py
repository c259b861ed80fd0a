"""What the endpoints of a pool have loaded, since when, when it was last used and what it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from gateway.control.model_client import ModelError, Used
from gateway.control.placement import Resident
from gateway.control.sites import QUESTION_TIMEOUT, Index, Sites, held, is_ready
from gateway.tasks import spawn

FRESH = 0.2
"""Seconds for which an endpoint's word is good enough to choose by."""
LATE = 2.5
"""Seconds after a load until its memory is measured again: GPU figures come every two seconds."""

Measure = Callable[[str], int | None]


class _Look(NamedTuple):
    at: float
    models: Index
    used: dict[str, float]


class Residents:
    """The models at the endpoints of a pool. `measure` tells how many bytes the Triton at an address takes, or None;
    `folder` how many a model's files are. `sizes` has what each model takes; `pinned` those that are to stay."""

    def __init__(
        self,
        sites: Sites,
        measure: Measure = lambda address: None,
        folder: Measure = lambda model: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.sizes: dict[str, int] = {}
        self.pinned: set[str] = set()
        self._sites = sites
        self._measure = measure
        self._folder = folder
        self._clock = clock
        self._wall = wall
        self._looks: dict[str, _Look] = {}
        self._since: dict[tuple[str, str], float] = {}
        self._changes: dict[str, int] = {}
        self._empty: dict[str, int] = {}

    def memory(self, address: str) -> int | None:
        """Bytes that the Triton takes now."""
        return self._measure(address)

    def taken(self, address: str, residents: int) -> int:
        """Bytes that the models there take together: more than the Triton took when it had none; 0 if not known."""
        now = self._measure(address)
        if now is None:
            return 0
        if not residents:
            self._empty[address] = now
        return max(0, now - self._empty.get(address, now))

    def loaded(self, address: str, model: str, before: int | None) -> None:
        """A model was loaded where `before` bytes were taken: what it takes is measured now, and once more when GPU
        figures are there too, unless something else changed meanwhile."""
        self._since[address, model] = self._clock()
        change = self._change(address)
        after = self._measure(address)
        if before is None or after is None:
            size = self._folder(model)
            if size is not None:
                self.sizes[model] = size
            return
        self.sizes[model] = max(0, after - before)
        spawn(self._measure_late(address, model, before, change), f"measure {model}")

    def unloaded(self, address: str, model: str) -> None:
        """A model is gone."""
        self._since.pop((address, model), None)
        self._change(address)

    async def of(self, address: str, fresh: bool) -> dict[str, Resident] | None:
        """What takes memory there; None if the endpoint does not say. If it need not be `fresh`, what it said a moment
        ago is enough."""
        look = self._looks.get(address)
        if fresh or look is None or self._clock() - look.at > FRESH:
            look = await self._ask(address)
        if look is None:
            return None
        fleet = self._sites.fleet
        return {
            name: Resident(
                ready=is_ready(versions)
                and all(each.state not in ("LOADING", "UNLOADING") for each in versions.values()),
                used=look.used.get(name, 0.0),
                since=self._since.get((address, name), 0.0),
                in_flight=fleet.in_flight(address, name),
                pinned=name in self.pinned,
            )
            for name, versions in look.models.items()
            if held(versions)
        }

    async def _ask(self, address: str) -> _Look | None:
        client = self._sites.client(address)
        try:
            index = await client.index(QUESTION_TIMEOUT)
            used = await client.used(QUESTION_TIMEOUT)
        except ModelError:
            self._looks.pop(address, None)
            return None
        now, wall = self._clock(), self._wall()
        look = self._looks[address] = _Look(now, index, {name: at(each, now, wall) for name, each in used.items()})
        return look

    def _change(self, address: str) -> int:
        self._looks.pop(address, None)
        self._changes[address] = self._changes.get(address, 0) + 1
        return self._changes[address]

    async def _measure_late(self, address: str, model: str, before: int, change: int) -> None:
        await asyncio.sleep(LATE)
        after = self._measure(address)
        if after is not None and self._changes[address] == change:
            self.sizes[model] = max(self.sizes.get(model, 0), after - before)


def at(used: Used, now: float, wall: float) -> float:
    """When a model was last used, by the clock that says `now` while the wall says `wall`; 0 for never."""
    return now - max(0.0, wall - used.last) if used.last else 0.0
