"""The keys of an issuer as they are now: read when first needed, read again in the background, kept when that fails.

A token may name a key that is not known: the issuer may have a new one. Then the keys are read again before the answer,
once for all who wait, not more often than every few seconds whatever strangers send, and a name that was looked for in
vain is not looked for again soon. So a storm of such tokens costs the issuer one request each `LEAST_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from routing.fetch import FetchFailed
from routing.jwks import KeySet, SigningKey, read_keys

log = logging.getLogger(__name__)

LEAST_SECONDS: Final = 10.0
"""Between two readings that were asked for by tokens."""
RETRY_SECONDS: Final = 1.0
"""Between two readings while there are no keys at all, and nobody can be let in."""
ABSENT_SECONDS: Final = 60.0
MOST_ABSENT: Final = 1024
_LONG_AGO: Final = float("-inf")

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class NoKeys(Exception):
    """The keys could not be read, or not for so long that they no longer count."""


class KeySource:
    """Keys of an issuer. `fetch` reads the document; keys older than `refresh` seconds are read again, and count for
    `stale` seconds if that fails. `told` hears "ok" or "failed" of each reading, `changed` is called when the document
    is another one."""

    def __init__(
        self,
        name: str,
        fetch: Callable[[], Awaitable[bytes]],
        allowed: tuple[str, ...],
        *,
        refresh: float,
        stale: float,
        clock: Callable[[], float],
        spawn: Spawn,
        told: Callable[[str], None] = lambda result: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._allowed = allowed
        self._refresh = refresh
        self._stale = stale
        self._clock = clock
        self._spawn = spawn
        self._told = told
        self._changed = changed
        self._document = b""
        self._keys: KeySet | None = None
        self._read_at = self._tried_at = _LONG_AGO
        self._reading: asyncio.Task[None] | None = None
        self._absent: dict[str, float] = {}

    async def find(self, kid: str, algorithm: str) -> SigningKey | None:
        """The key that a token names, None if there is none for this algorithm. Raises `NoKeys`."""
        keys = self._current() or await self._first()
        if not kid or kid in keys.kids:
            return keys.find(kid, algorithm)
        return await self._look_again(kid, algorithm)

    def _current(self) -> KeySet | None:
        """The keys while they count; those that are old are read again meanwhile."""
        age = self._clock() - self._read_at
        if self._keys is None or age > self._refresh + self._stale:
            return None
        if age > self._refresh:
            self._read_if_due(LEAST_SECONDS)
        return self._keys

    async def _first(self) -> KeySet:
        await self._read_now(RETRY_SECONDS)
        keys = self._current()
        if keys is None:
            raise NoKeys(self._name)
        return keys

    async def _look_again(self, kid: str, algorithm: str) -> SigningKey | None:
        now = self._clock()
        if self._absent.get(kid, _LONG_AGO) > now or not await self._read_now(LEAST_SECONDS):
            return None
        keys = self._current()
        if keys is not None and kid in keys.kids:
            return keys.find(kid, algorithm)
        if len(self._absent) >= MOST_ABSENT:
            self._absent.clear()
        self._absent[kid] = now + ABSENT_SECONDS
        return None

    async def _read_now(self, least: float) -> bool:
        """Read the keys, or wait for whoever does; False when they were read less than `least` seconds ago."""
        reading = self._read_if_due(least)
        if reading is None:
            return False
        await asyncio.wait([reading])
        return True

    def _read_if_due(self, least: float) -> asyncio.Task[None] | None:
        if self._reading is None and self._clock() - self._tried_at >= least:
            self._tried_at = self._clock()
            self._reading = self._spawn(self._read(), f"keys of {self._name}")
        return self._reading

    async def _read(self) -> None:
        try:
            document = await self._fetch()
            keys = read_keys(document, self._allowed)
        except (FetchFailed, ValueError) as error:
            log.warning("the keys of %s could not be read: %s", self._name, error)
            self._told("failed")
        else:
            self._take(document, keys)
            self._told("ok")
        finally:
            self._reading = None

    def _take(self, document: bytes, keys: KeySet) -> None:
        self._read_at = self._clock()
        self._keys = keys
        if document != self._document:
            self._document = document
            self._absent.clear()
            self._changed()
