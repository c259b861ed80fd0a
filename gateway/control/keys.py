"""Reads the API keys, from the store and from a file, and tells the workers what changes.

The store tells of a change at once, by a message; should that be lost, it is asked each half second. Keys that were
read stay in force while the store is away, since a store that cannot be asked says nothing of a key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.world import KeySet
from state import StateError
from state.key_file import KeyFileError, Stamp, load, stamp_of
from state.key_store import Changes, KeyStore
from state.keys import KeyRecord

POLL = 0.5
"""Seconds from one look to the next, whether or not anything was told."""

Publish = Callable[[KeySet, Callable[[], KeySet]], None]

_log = logging.getLogger(__name__)


class KeyWatch:
    """All keys. `store` is None where the configuration has none, `file` is the path of the mounted file; `publish` is
    called with each change, and with how to ask for all of them."""

    def __init__(self, store: KeyStore | None, file: str | None, publish: Publish) -> None:
        self._store = store
        self._file = file
        self._publish = publish
        self._wake = asyncio.Event()
        self._epoch = ""
        self._version = 0
        self._read = store is None
        self._looked = asyncio.Event()
        self._all: dict[str, KeyRecord] = {}
        self._stored: dict[str, KeyRecord] = {}
        self._filed: dict[str, KeyRecord] = {}
        self._stamp: Stamp | None = None
        self._away = False

    async def run(self) -> None:
        """Watch until cancelled."""
        off = self._store.on_change(self._wake.set) if self._store is not None else lambda: None
        try:
            while True:
                self._wake.clear()
                await self.look()
                try:
                    async with asyncio.timeout(POLL):
                        await self._wake.wait()
                except TimeoutError:
                    pass  # then it is looked at without being told
        finally:
            off()

    async def look(self) -> None:
        """Read what changed, and tell of it."""
        changed = self._file is not None and self._look_at_file(self._file)
        whole = not self._looked.is_set()
        if self._store is not None:
            changes = await self._look_at_store(self._store)
            whole = whole or (changes is not None and (changes.whole or not self._read))
            changed = self._take(changes) or changed
        if changed or whole:
            self._tell(whole)
        self._looked.set()

    async def looked(self) -> None:
        """Return when the keys were looked for once."""
        await self._looked.wait()

    def records(self) -> dict[str, KeyRecord]:
        """All keys by id; where both have one, the file's."""
        return {**self._stored, **self._filed}

    def whole(self) -> KeySet:
        """All of them, for a worker that knows none."""
        return KeySet(True, self._read, tuple(self._all.values()))

    def _tell(self, whole: bool) -> None:
        before, self._all = self._all, self.records()
        if whole:
            self._publish(self.whole(), self.whole)
            return
        changed = tuple(record for id, record in self._all.items() if before.get(id) != record)
        gone = tuple(id for id in before if id not in self._all)
        if changed or gone:
            self._publish(KeySet(False, self._read, changed, gone), self.whole)

    async def _look_at_store(self, store: KeyStore) -> Changes | None:
        """What changed there; None if it is away."""
        try:
            changes = await store.since(self._epoch, self._version)
        except StateError as error:
            if not self._away:
                self._away = True
                _log.warning("API keys cannot be read; those that are known stay in force: %s", error)
            return None
        if self._away:
            self._away = False
            _log.info("API keys can be read again")
        return changes

    def _take(self, changes: Changes | None) -> bool:
        """Take changes over; False if there are none."""
        if changes is None:
            return False
        if changes.whole:
            self._stored.clear()
        self._epoch, self._version, self._read = changes.epoch, changes.version, True
        self._stored.update((record.id, record) for record in changes.records)
        for id in changes.gone:
            self._stored.pop(id, None)
        return bool(changes.whole or changes.records or changes.gone)

    def _look_at_file(self, path: str) -> bool:
        """Read it if it changed. True if that gave keys."""
        stamp = stamp_of(path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._filed = load(path)
        except KeyFileError as error:
            _log.error("%s; the keys that were read before stay in force", error)
            return False
        _log.info("read %d API keys from %s", len(self._filed), path)
        return True
