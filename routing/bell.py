"""How a worker tells another one of its node to look: a FIFO for each of them in the directory that they share.

A byte in it wakes the other's event loop at once. Bytes mean nothing: whoever is woken looks at the shared tables, and
what is lost costs the time until it looks by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final

_READ: Final = 4096


class Bell:
    """The bells of all workers, of which that of worker `index` is this one's. Without a directory there are none."""

    def __init__(self, directory: str | None, index: int) -> None:
        self._directory = directory
        self._index = index
        self._heard: set[Callable[[], None]] = set()
        self._reads = -1
        self._writes: dict[int, int] = {}

    def on_ring(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Have `heard` called in this event loop whenever another worker rings; the answer ends that. Raises
        `OSError`."""
        if self._directory is not None and self._reads < 0:
            self._reads = os.open(self._path(self._index), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            asyncio.get_running_loop().add_reader(self._reads, self._read)
        self._heard.add(heard)
        return lambda: self._heard.discard(heard)

    def ring(self, worker: int) -> None:
        """Wake that worker, if it listens."""
        if self._directory is None:
            return
        with contextlib.suppress(OSError):  # nobody listens there yet, or it is about to be woken anyhow
            write = self._writes.get(worker)
            if write is None:
                write = self._writes[worker] = os.open(self._path(worker), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(write, b"\0")

    def close(self) -> None:
        """Let go of all."""
        if self._reads >= 0:
            asyncio.get_running_loop().remove_reader(self._reads)
            os.close(self._reads)
            self._reads = -1
        for write in self._writes.values():
            os.close(write)
        self._writes.clear()

    def _path(self, worker: int) -> str:
        assert self._directory is not None
        path = os.path.join(self._directory, f"bell-{worker}")
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        return path

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._reads, _READ)) == _READ:
                pass
        for heard in tuple(self._heard):
            heard()
