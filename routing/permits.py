"""How many calls are in flight under a key, as all workers of one node know it: a table of cells in shared memory.

A row belongs to a key. In it each worker has cells that only it writes: how many of its calls are in flight, how urgent
is what waits there, and until when that holds. A permit is taken by counting the call first and then looking at the sum
of all workers: who finds too many takes its count back. So there are never more than the limit, without any lock; two
that come at once may both find it full for a moment, and look again soon after.

A row is taken for a key under a lock of its bucket (fcntl(2)) and is free when no worker holds it. A worker that starts
frees what the one before it with its number held; until then a worker that died keeps its permits.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import weakref
from hashlib import blake2b
from typing import Final
from weakref import WeakValueDictionary

MAGIC: Final = b"PENPERM1"
BUCKET: Final = 16
CAPACITY: Final = 16_384
"""Rows: each takes 8 bytes, and 32 for each worker, if it is ever used."""
NOTHING: Final = 255
"""What is told to wait where nothing does; classes are from 0, the most urgent, to 254."""
_HEADER: Final = struct.Struct("<8sQQ")
_HEADER_BYTES: Final = 4096
_CELL: Final = 8
_AREAS: Final = 4


class PermitTable:
    """The table of a worker. `open` it at the path that all workers share, or in this process's own memory."""

    def __init__(self, memory: mmap.mmap, capacity: int, index: int, workers: int, descriptor: int = -1) -> None:
        self.capacity = capacity
        self.index = index
        self.workers = workers
        self._descriptor = descriptor
        self._permits: WeakValueDictionary[str, Permits] = WeakValueDictionary()
        area = capacity * _CELL
        whole = memoryview(memory)[_HEADER_BYTES:]
        self._keys = whole[:area].cast("Q")
        starts = range(area, area * (1 + _AREAS * workers), _AREAS * area)
        self.in_flight = [whole[start : start + area].cast("q") for start in starts]
        self.waiting = [whole[start + area : start + 2 * area].cast("q") for start in starts]
        self.until = [whole[start + 2 * area : start + 3 * area].cast("d") for start in starts]
        self._held = [whole[start + 3 * area : start + 4 * area].cast("q") for start in starts]
        self._free_mine()

    @classmethod
    def open(cls, path: str | None, index: int = 0, workers: int = 1, capacity: int = CAPACITY) -> PermitTable:
        """The table in the file at `path`, an empty new one (mode 0600) if there is none; what worker `index` held in
        it is free. Raises `OSError`, and `ValueError` for a file that is none or of another size."""
        if capacity % BUCKET:
            raise ValueError(f"capacity: expected a multiple of {BUCKET}, got {capacity}")
        size = _HEADER_BYTES + (1 + _AREAS * workers) * capacity * _CELL
        if path is None:
            return cls(mmap.mmap(-1, size), capacity, index, workers)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, capacity)
            if os.fstat(descriptor).st_size == 0:
                os.truncate(descriptor, size)
                os.pwrite(descriptor, _HEADER.pack(MAGIC, capacity, workers), 0)
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, capacity)
            if os.pread(descriptor, _HEADER.size, 0) != _HEADER.pack(MAGIC, capacity, workers):
                raise ValueError(f"{path} is no table of {capacity} permits for {workers} workers")
            return cls(mmap.mmap(descriptor, size), capacity, index, workers, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def hold(self, key: str) -> Permits:
        """The permits of a key, the same object as long as anybody has it; then its row is free. Without a free row
        they are this worker's alone, which has its part of a limit."""
        permits = self._permits.get(key)
        if permits is None:
            permits = self._permits[key] = self._hold(key)
        return permits

    def _hold(self, key: str) -> Permits:
        digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        number = int.from_bytes(digest, "little") or 1
        first = number % (self.capacity // BUCKET) * BUCKET
        if self._descriptor >= 0:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, first)
        try:
            row = self._row(number, first)
            if row is None:
                return Permits(PermitTable.open(None, capacity=BUCKET), 0, self.workers)
            self._keys[row] = number
            self._held[self.index][row] = 1
            permits = Permits(self, row)
            weakref.finalize(permits, self._drop, row).atexit = False
            return permits
        finally:
            if self._descriptor >= 0:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, first)

    def _drop(self, row: int) -> None:
        self.waiting[self.index][row] = self.in_flight[self.index][row] = self._held[self.index][row] = 0

    def _row(self, number: int, first: int) -> int | None:
        rows = range(first, first + BUCKET)
        free = None
        for row in rows:
            if self._keys[row] == number:
                return row
            if free is None and not any(cells[row] for cells in self._held):
                free = row
        return free

    def _free_mine(self) -> None:
        for cells in (self.in_flight, self.waiting, self._held):
            cells[self.index].cast("B")[:] = bytes(cells[self.index].nbytes)
        self.until[self.index].cast("B")[:] = bytes(self.until[self.index].nbytes)


class Permits:
    """The permits of one key. `mine` is how many calls of this worker are in flight."""

    __slots__ = ("__weakref__", "_in_flight", "_others", "_own", "_row", "_share", "_table", "mine")

    def __init__(self, table: PermitTable, row: int, share: int = 1) -> None:
        self._table = table
        self._row = row
        self._share = share
        self._in_flight = table.in_flight
        self._own = table.in_flight[table.index]
        self._others = [worker for worker in range(table.workers) if worker != table.index]
        self.mine = 0

    @property
    def shared(self) -> bool:
        """Whether other workers have some of them."""
        return bool(self._others)

    @property
    def in_flight(self) -> int:
        """How many calls of all workers are in flight."""
        row = self._row
        return sum([cells[row] for cells in self._in_flight])

    def take(self, limit: int) -> bool:
        """Have one, if fewer than `limit` are out."""
        row = self._row
        self.mine += 1
        self._own[row] = self.mine
        if self._share > 1:
            limit = max(1, limit // self._share)
        if not self._others:
            if self.mine <= limit:
                return True
        elif sum([cells[row] for cells in self._in_flight]) <= limit:
            return True
        self.mine -= 1
        self._own[row] = self.mine
        return False

    def give(self) -> None:
        """Give one back."""
        self.mine -= 1
        self._own[self._row] = self.mine

    def say(self, rank: int, until: float) -> None:
        """How urgent is what waits here, `NOTHING` for nothing, and until when the others are to believe that."""
        table = self._table
        table.until[table.index][self._row] = until
        table.waiting[table.index][self._row] = rank - NOTHING

    def rival(self, rank: int, now: float) -> int | None:
        """The worker that is to have the next permit rather than this one, where something of this rank waits, or
        `NOTHING`: for what is more urgent or, where fewer of its calls are in flight, as urgent. None if there is
        none."""
        table, row = self._table, self._row
        best, found = (rank, self.mine), None
        for worker in self._others:
            waiting = table.waiting[worker][row]
            if waiting and table.until[worker][row] > now:
                theirs = (waiting + NOTHING, table.in_flight[worker][row])
                if theirs < best:
                    best, found = theirs, worker
        return found
