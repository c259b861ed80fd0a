"""Endpoints that the configuration lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config.pools import Endpoint
from routing.discovery import forever


class Static:
    """These and no others, in the order of the file."""

    def __init__(self, endpoints: Sequence[Endpoint] = ()) -> None:
        self._endpoints = tuple(endpoints)

    @property
    def failure(self) -> str:
        """Never."""
        return ""

    def current(self) -> tuple[Endpoint, ...]:
        """All of them."""
        return self._endpoints

    async def run(self, changed: Callable[[], None]) -> None:
        """Nothing changes."""
        changed()
        await forever()
