"""Where the endpoints of a pool are: one interface for what is written down, found by DNS, or started by the gateway.

A source knows its endpoints now (`current`) and says when they may have changed (`run`); whoever follows it need not
know how it found out. A source that cannot find out keeps its last answer: discovery that fails takes no endpoint away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from config.pools import Endpoint, Pool


class Source(Protocol):
    """Endpoints of one pool, addresses without duplicates."""

    @property
    def failure(self) -> str:
        """Why it cannot find out at the moment, "" if it can."""
        ...

    def current(self) -> tuple[Endpoint, ...]:
        """Those that there are now, in a stable order; none before the first answer."""
        ...

    async def run(self, changed: Callable[[], None]) -> None:
        """Look for changes until cancelled. Calls `changed` after the first answer, even if it is a failure, and
        whenever `current` may be another."""
        ...


def source_of(pool: Pool) -> Source:
    """The source of a pool that says where its endpoints are, or how to find them. One of a pool that is managed has
    none: whoever starts the Tritons is their source."""
    from routing.discovery.static import Static

    if pool.discover is None:
        return Static(pool.endpoints)
    from routing.discovery.dns import Dns

    return Dns(pool.discover)


async def forever() -> None:
    """Return never: until cancelled."""
    await asyncio.Event().wait()
