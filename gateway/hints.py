"""Hints to control: an endpoint said that it does not have a model which its inventory has, so the inventory is stale.

It is read anew at once, and no more often than `GAP` for each endpoint, however many requests found out. Those that can
go elsewhere do not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from routing.tasks import spawn

GAP = 0.5
"""Seconds between hints of one worker about one endpoint: a World may take that long to come, and a Triton that says
READY and means it not must not be asked all the time."""
REMEMBERED = 4096


class Refresh(Protocol):
    """How a worker has inventory read anew: `gateway.link.WorkerLink.refresh`."""

    async def __call__(self, pool: str, address: str = "", loaded: str = "") -> None:
        """Return when the World that shows it was applied: of the pool, or of its endpoint with this address, where
        this model was loaded."""


class Hints:
    """The hints of one worker. `clock` is in seconds."""

    def __init__(self, refresh: Refresh, clock: Callable[[], float] | None = None) -> None:
        self._refresh = refresh
        self._clock = clock or asyncio.get_running_loop().time
        self._asked: dict[tuple[str, str], tuple[float, asyncio.Task[None]]] = {}

    def stale(self, pool: str, address: str) -> Awaitable[None]:
        """What is known of the models at this endpoint is not true. What it gives ends with the last hint about it."""
        key, now = (pool, address), self._clock()
        asked = self._asked.get(key)
        if asked is not None and now < asked[0]:
            return asyncio.shield(asked[1])
        if len(self._asked) >= REMEMBERED:
            self._asked.clear()
        task = spawn(self._refresh(pool, address), f"hint about {address}")
        self._asked[key] = (now + GAP, task)
        return asyncio.shield(task)
