"""Where the live stateful sequences are, as all workers of one gateway know it: a table of cells in shared memory.

A set-associative table in one mapped file of the run directory: a key belongs to one bucket of 32 entries and may be in
any of them, so a look-up compares 32 cells at C speed (1 µs) and nothing is ever moved. An entry has 24 bytes, in three
areas: the key, the place, and when it expires (`time.monotonic`, one clock for all processes of a machine). An entry
that is over is free.

Reading takes no lock: an entry is read, and then whether it is still that key's. A new entry is written under a lock of
its bucket (fcntl(2), which the kernel lets go of when a process dies), so that two workers that see a sequence start at
once agree on one place.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from transcoding.status import Code, Fault, GatewayError

MAGIC: Final = b"PENSEQS1"
BUCKET: Final = 32
CAPACITY: Final = 262_144
"""Entries. With a quarter of them in use, the odds that a bucket is full are 1e-11 (Poisson, mean 8)."""
_HEADER: Final = struct.Struct("<8sQ")
_HEADER_BYTES: Final = 4096
_CELL: Final = 8


class Entry(NamedTuple):
    """What is known of a sequence; `cell` is where it is kept."""

    cell: int
    place: int
    expires: float


class SequenceTable:
    """The table. `open` it at the path that all processes share, or in this process's own memory."""

    def __init__(self, memory: bytearray | mmap.mmap, capacity: int, descriptor: int = -1) -> None:
        if capacity % BUCKET:
            raise ValueError(f"capacity: expected a multiple of {BUCKET}, got {capacity}")
        self.capacity = capacity
        self._descriptor = descriptor
        self._buckets = capacity // BUCKET
        whole = memoryview(memory)[_HEADER_BYTES:]
        area = capacity * _CELL
        self._keys = whole[:area].cast("Q")
        self._places = whole[area : 2 * area].cast("Q")
        self._expires = whole[2 * area : 3 * area].cast("d")

    @classmethod
    def open(cls, path: str | None, capacity: int = CAPACITY) -> SequenceTable:
        """The table in the file at `path`, an empty new one (mode 0600) if there is none. Raises `OSError`, and
        `ValueError` for a file that is none or of another size."""
        size = _HEADER_BYTES + 3 * capacity * _CELL
        if path is None:
            return cls(bytearray(size), capacity)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_size == 0:
                os.truncate(descriptor, size)
                os.pwrite(descriptor, _HEADER.pack(MAGIC, capacity), 0)
            fcntl.lockf(descriptor, fcntl.LOCK_UN)
            if os.pread(descriptor, _HEADER.size, 0) != _HEADER.pack(MAGIC, capacity):
                raise ValueError(f"{path} is no table of {capacity} sequences")
            return cls(mmap.mmap(descriptor, size), capacity, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def find(self, key: int, now: float) -> Entry | None:
        """What is known of a sequence at `now`; None if it is not known or over. Keys and places are integers from 1 to
        2^64 - 1."""
        first = key % self._buckets * BUCKET
        keys = self._keys[first : first + BUCKET].tolist()
        if key not in keys:
            return None
        cell = first + keys.index(key)
        entry = Entry(cell, self._places[cell], self._expires[cell])
        return entry if entry.expires > now and self._keys[cell] == key else None

    def put(self, key: int, place: int, expires: float, now: float, instead_of: int = 0) -> int:
        """Say where a sequence is, unless it is meanwhile known to be elsewhere than at `instead_of`; returns where it
        is now. Raises `GatewayError` when there is no room."""
        first = key % self._buckets * BUCKET
        with self._locked(first):
            known = self.find(key, now)
            if known is not None:
                if known.place != instead_of:
                    return known.place
                cell = known.cell
            else:
                cell = self._free(first, key, now)
            self._keys[cell] = 0
            self._places[cell] = place
            self._expires[cell] = expires
            self._keys[cell] = key
        return place

    def extend(self, entry: Entry, expires: float) -> None:
        """It is over at `expires`, not before."""
        self._expires[entry.cell] = expires

    def remove(self, key: int, now: float) -> None:
        """It is over."""
        with self._locked(key % self._buckets * BUCKET):
            known = self.find(key, now)
            if known is not None:
                self._expires[known.cell] = 0.0

    def live(self, now: float) -> int:
        """How many sequences are known: a look at every entry."""
        return sum(expires > now for expires in self._expires.tolist())

    def _free(self, first: int, key: int, now: float) -> int:
        """The entry for a key that is not known: its own that is over, else any that is free."""
        keys = self._keys[first : first + BUCKET].tolist()
        if key in keys:
            return first + keys.index(key)
        for cell in range(first, first + BUCKET):
            if self._expires[cell] <= now:
                return cell
        text = f"too many stateful sequences: the gateway keeps {self.capacity} at most"
        raise GatewayError(Code.RESOURCE_EXHAUSTED, text, fault=Fault.BUSY)

    @contextmanager
    def _locked(self, first: int) -> Iterator[None]:
        if self._descriptor < 0:
            yield
            return
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, first)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, first)
