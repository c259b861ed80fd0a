"""The load of the endpoints as all processes of one gateway see it: a table of plain cells in shared memory.

One file in the run directory, mapped by each process. A row is a *slot*, which control gives to an endpoint and to each
(endpoint, model, version). Its first cells are what control scraped; then each worker has two: its requests in flight
there and the seconds of work that it expects of them. A cell has one writer, so there is no lock: a cell is eight
aligned bytes, which the processors that we run on load and store whole. The cells of one slot need not be of one
moment, which only makes a number a little older. A request's mark costs 0.1 µs, a sum over workers 0.05 µs and 0.02 µs
for each of them (CPython 3.11).

Published cells and those of each worker lie in areas of their own, so that workers do not take cache lines from each
other. The file is sparse: a slot that nobody uses costs no memory.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final, NamedTuple

MAGIC: Final = b"PENLOAD1"
_HEADER: Final = struct.Struct("<8sQQ")
_HEADER_BYTES: Final = 64
_CELL: Final = 8
_PUBLISHED: Final = 5
_PAGE: Final = 4096


class Published(NamedTuple):
    """What control last said of a slot: requests waiting there, seconds of service each (0: unknown), seconds of work
    that others than this gateway have there, when that was scraped (`time.monotonic`, one clock for all processes of a
    machine; 0: never), and what this gateway had in flight there at that moment."""

    pending: float = 0.0
    service: float = 0.0
    foreign: float = 0.0
    at: float = 0.0
    own_at: float = 0.0


class LoadBoard:
    """The table. `create` it in control, `attach` to it in a worker; slots from 0 to `slots` - 1."""

    def __init__(self, memory: bytearray | mmap.mmap, slots: int, workers: int, path: str | None = None) -> None:
        self.path = path
        self.slots = slots
        self.workers = workers
        whole = memoryview(memory)
        area = _area(_PUBLISHED * slots * _CELL)
        self._cells = whole[_HEADER_BYTES : _HEADER_BYTES + _PUBLISHED * slots * _CELL].cast("d")
        self._in_flight: list[memoryview[int]] = []
        self._seconds: list[memoryview[float]] = []
        for worker in range(workers):
            start = _HEADER_BYTES + area + worker * _area(2 * slots * _CELL)
            middle = start + slots * _CELL
            self._in_flight.append(whole[start:middle].cast("q"))
            self._seconds.append(whole[middle : middle + slots * _CELL].cast("d"))

    @classmethod
    def create(cls, path: str | None, slots: int, workers: int) -> LoadBoard:
        """An empty table in a new file at `path`, in place of one that is there, mode 0600; in this process's own
        memory when `path` is None. Raises `OSError`."""
        size = _size(slots, workers)
        if path is None:
            return cls(bytearray(size), slots, workers)
        fresh = f"{path}.new"
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(descriptor, size)
            os.pwrite(descriptor, _HEADER.pack(MAGIC, slots, workers), 0)
            memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        os.replace(fresh, path)
        return cls(memory, slots, workers, path)

    @classmethod
    def attach(cls, path: str) -> LoadBoard:
        """The table that `create` left at `path`. Raises `OSError`, and `ValueError` for a file that is none."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            head = os.pread(descriptor, _HEADER.size, 0)
            if len(head) < _HEADER.size or not head.startswith(MAGIC):
                raise ValueError(f"{path} is no load board")
            _, slots, workers = _HEADER.unpack(head)
            size = _size(slots, workers)
            if os.fstat(descriptor).st_size != size:
                raise ValueError(f"{path} is cut short")
            memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        return cls(memory, slots, workers, path)

    def publish(
        self,
        slot: int,
        *,
        pending: float = 0.0,
        service: float = 0.0,
        foreign: float = 0.0,
        at: float = 0.0,
        own_at: float = 0.0,
    ) -> None:
        """Write what was scraped: control only. Without values, the slot is as new for whoever gets it next."""
        first = slot * _PUBLISHED
        cells = self._cells
        cells[first] = pending
        cells[first + 1] = service
        cells[first + 2] = foreign
        cells[first + 3] = at
        cells[first + 4] = own_at

    def published(self, slot: int) -> Published:
        """What was scraped last."""
        first = slot * _PUBLISHED
        return Published(*self._cells[first : first + _PUBLISHED])

    def service(self, slot: int) -> float:
        """`Published.service` alone, for the path of a request."""
        return self._cells[slot * _PUBLISHED + 1]

    def foreign(self, slot: int) -> float:
        """`Published.foreign` alone, for the path of a request."""
        return self._cells[slot * _PUBLISHED + 2]

    def at(self, slot: int) -> float:
        """`Published.at` alone, for the path of a request."""
        return self._cells[slot * _PUBLISHED + 3]

    def in_flight(self, slot: int) -> int:
        """Requests of all workers in flight there."""
        total = 0
        for cells in self._in_flight:
            total += cells[slot]
        return total

    def seconds(self, slot: int) -> float:
        """Seconds of work that all workers expect of what they have in flight there."""
        total = 0.0
        for cells in self._seconds:
            total += cells[slot]
        return total

    def worker(self, index: int) -> WorkerBoard:
        """The cells that worker `index` writes. Raises `IndexError` for a worker that the table has no cells for."""
        return WorkerBoard(self._in_flight[index], self._seconds[index])


class WorkerBoard:
    """One worker's own load; nobody else writes it."""

    __slots__ = ("_in_flight", "_seconds")

    def __init__(self, in_flight: memoryview[int], seconds: memoryview[float]) -> None:
        self._in_flight = in_flight
        self._seconds = seconds

    def add(self, slot: int, seconds: float) -> None:
        """One more request, which is expected to take so long."""
        self._in_flight[slot] += 1
        self._seconds[slot] += seconds

    def remove(self, slot: int, seconds: float) -> None:
        """One request less, with the seconds that were added for it. When none is left there is no work left either:
        what rounding left over goes."""
        left = self._in_flight[slot] - 1
        self._in_flight[slot] = left
        self._seconds[slot] = self._seconds[slot] - seconds if left else 0.0

    def clear(self) -> None:
        """Nothing is in flight: for a worker that begins, where one before it died."""
        self._in_flight.cast("B")[:] = bytes(self._in_flight.nbytes)
        self._seconds.cast("B")[:] = bytes(self._seconds.nbytes)


def _area(size: int) -> int:
    """Room for `size` bytes in whole pages."""
    return -(-size // _PAGE) * _PAGE


def _size(slots: int, workers: int) -> int:
    return _HEADER_BYTES + _area(_PUBLISHED * slots * _CELL) + workers * _area(2 * slots * _CELL)
