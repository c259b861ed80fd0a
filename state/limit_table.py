"""What callers used of their limits, as all workers of one node know it: a table of cells in shared memory.

A set-associative table in one mapped file of the run directory: a key belongs to one bucket of 16 entries, each with
its key and the cells of up to four windows (`state.gcra`). What is done to an entry is done under a lock of its bucket
(fcntl(2), which the kernel lets go of when a process dies; 0.5 µs), so the limits hold for all workers together. A
worker that cannot have a lock within `PATIENCE` seconds goes on without any for a while: one that is stopped in the
middle must not stop the others.

An entry whose windows are all whole is free. When a bucket has no free one, the key that used least is forgotten, which
is the one time that something is let through too early: a node remembers `CAPACITY` keys.

The clock is the machine's monotonic one, which no correction of the time makes step. The table lives as long as the
gateway: workers that start again find it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from state.gcra import MAX_WINDOWS, Taken, Windows, settle, take

MAGIC: Final = b"PENLIMI1"
BUCKET: Final = 16
CAPACITY: Final = 131_072
"""Entries: 9 MiB when all are used."""
PATIENCE: Final = 0.25
IMPATIENT: Final = 1.0
"""Seconds for which no lock is waited for after one could not be had."""
_TRIES: Final = 5
_NAP: Final = 1e-4
REMEMBERED_KEYS: Final = 8192
Clock = Callable[[], float]
_CELLS: Final = 2 * MAX_WINDOWS
_HEADER: Final = struct.Struct("<8sQ16s")
_HEADER_BYTES: Final = 4096
_CELL: Final = 8


class LimitTable:
    """The table. `open` it at the path that all workers share, or in this process's own memory."""

    def __init__(
        self, memory: mmap.mmap, capacity: int, salt: bytes, descriptor: int = -1, clock: Clock = time.monotonic
    ) -> None:
        self.capacity = capacity
        self.clock = clock
        self._descriptor = descriptor
        self._salt = salt
        self._buckets = capacity // BUCKET
        self._impatient_until = 0.0
        self._places: dict[str, int] = {}
        whole = memoryview(memory)[_HEADER_BYTES:]
        area = capacity * _CELL
        self._keys = whole[:area].cast("Q")
        self._cells = whole[area : area * (1 + _CELLS)].cast("d")

    @classmethod
    def open(cls, path: str | None, capacity: int = CAPACITY, clock: Clock = time.monotonic) -> LimitTable:
        """The table in the file at `path`, an empty new one (mode 0600) if there is none. `clock` is of the machine,
        looked at under the lock. Raises `OSError`, and `ValueError` for a file that is none or of another size."""
        if capacity % BUCKET:
            raise ValueError(f"capacity: expected a multiple of {BUCKET}, got {capacity}")
        size = _HEADER_BYTES + (1 + _CELLS) * capacity * _CELL
        if path is None:
            return cls(mmap.mmap(-1, size), capacity, os.urandom(16), clock=clock)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, capacity)
            if os.fstat(descriptor).st_size == 0:
                os.truncate(descriptor, size)
                os.pwrite(descriptor, _HEADER.pack(MAGIC, capacity, os.urandom(16)), 0)
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, capacity)
            magic, entries, salt = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
            if (magic, entries) != (MAGIC, capacity):
                raise ValueError(f"{path} is no table of {capacity} limits")
            return cls(mmap.mmap(descriptor, size), capacity, salt, descriptor, clock)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def take(self, key: str, windows: Windows, wanted: int, least: int) -> Taken:
        """`gcra.take` of the key's cells, now."""
        number = self._number(key)
        first = number % self._buckets * BUCKET
        locked = self._lock(first)
        try:
            now = self.clock()
            entry, cells = self._find(number, first, windows, now)
            taken = take(cells, windows, now, wanted, least)
            if taken.granted or self._keys[entry] == number:
                self._write(entry, number, cells)
        finally:
            if locked:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, first)
        return taken

    def settle(self, key: str, windows: Windows, delta: int, idles: Sequence[float]) -> tuple[float, ...]:
        """`gcra.settle` of the key's cells, now."""
        number = self._number(key)
        first = number % self._buckets * BUCKET
        locked = self._lock(first)
        try:
            now = self.clock()
            entry, cells = self._find(number, first, windows, now)
            leads = settle(cells, windows, now, delta, idles)
            self._write(entry, number, cells)
        finally:
            if locked:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, first)
        return leads

    def used(self) -> int:
        """How many keys are remembered: a look at every entry."""
        now = self.clock()
        return sum(self._tat(entry) > now for entry, key in enumerate(self._keys.tolist()) if key)

    def _number(self, key: str) -> int:
        """What stands for a key: 64 bits of a keyed hash, so that nobody can choose keys that share a bucket."""
        number = self._places.get(key)
        if number is None:
            if len(self._places) >= REMEMBERED_KEYS:
                self._places.clear()
            digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, key=self._salt).digest()
            number = self._places[key] = int.from_bytes(digest, "little") or 1
        return number

    def _find(self, number: int, first: int, windows: Windows, now: float) -> tuple[int, list[float]]:
        """The entry of a key, or the one that is to be its own, and its cells."""
        keys = self._keys[first : first + BUCKET].tolist()
        if number in keys:
            entry = first + keys.index(number)
            start = entry * _CELLS
            return entry, [*self._cells[start : start + 2 * len(windows)]]
        fresh = [now] * (2 * len(windows))
        if 0 in keys:
            return first + keys.index(0), fresh
        return min(range(first, first + BUCKET), key=self._tat), fresh

    def _tat(self, entry: int) -> float:
        start = entry * _CELLS
        return max(self._cells[start : start + _CELLS : 2])  # `tolist` would be of integers, to types and a compiler

    def _write(self, entry: int, number: int, cells: list[float]) -> None:
        start = entry * _CELLS
        if self._keys[entry] != number:
            self._keys[entry] = number
            for place in range(start + len(cells), start + _CELLS):
                self._cells[place] = 0.0
        for place, value in enumerate(cells, start):
            self._cells[place] = value

    def _lock(self, first: int) -> bool:
        """Have the lock of a bucket. False if there is none to have."""
        if self._descriptor < 0:
            return False
        tries, until = 0, 0.0
        while True:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, first)
            except BlockingIOError:
                tries += 1
                if tries <= _TRIES:
                    os.sched_yield()
                    continue
                now = time.monotonic()
                until = until or now + PATIENCE
                if now >= until or now < self._impatient_until:
                    self._impatient_until = max(self._impatient_until, now + IMPATIENT if now >= until else 0.0)
                    return False
                time.sleep(_NAP)  # so that who has it may run
            else:
                return True
