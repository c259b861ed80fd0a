"""Which row of the load board is whose: one for each endpoint, one for each model version that is READY there.

A row that was given up rests before another gets it, since workers learn of it a moment later and may have requests in
flight there. It is kept on disk, so that a control that is started again goes on with the rows that the workers count
in.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Callable
from time import monotonic

import msgspec

from routing.load_board import LoadBoard

REST = 60.0
"""Seconds."""

Owner = tuple[str, ...]
"""An endpoint's address; or its address, a model and a version."""

_log = logging.getLogger(__name__)


class _Kept(msgspec.Struct):
    """The file: who has which row, and since when, by `time.monotonic`, which row is given up and whose it was."""

    used: dict[tuple[str, ...], int]
    resting: dict[tuple[str, ...], tuple[int, float]]


class Slots:
    """The rows of `board`. `path` is where the allotment is kept, None for not at all."""

    def __init__(self, board: LoadBoard, path: str | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._board = board
        self._path = path
        self._clock = clock
        self._used: dict[Owner, int] = {}
        self._resting: dict[Owner, tuple[int, float]] = {}
        self._free: list[int] = []
        self._next = 0
        self._dirty = False
        self._full = False
        if path is not None:
            self._read(path)

    def get(self, owner: Owner) -> int:
        """The row of `owner`; -1 if it has none."""
        return self._used.get(owner, -1)

    def owners(self) -> list[Owner]:
        """Who has a row."""
        return list(self._used)

    def allot(self, owner: Owner) -> int:
        """The row of `owner` from now on: its own, the one that it had until a moment ago, or a free one, empty. -1 if
        there is none left."""
        slot = self._used.get(owner)
        if slot is not None:
            return slot
        rested = self._resting.pop(owner, None)
        slot = rested[0] if rested is not None else self._fresh()
        if slot < 0:
            if not self._full:
                _log.error("the load board is full: %d rows; further models count by their endpoint", self._board.slots)
            self._full = True
            return -1
        self._used[owner] = slot
        self._dirty = True
        return slot

    def release(self, owner: Owner) -> None:
        """`owner` needs its row no more."""
        slot = self._used.pop(owner, None)
        if slot is not None:
            self._resting[owner] = (slot, self._clock())
            self._dirty = True

    def _fresh(self) -> int:
        self._wake()
        if self._free:
            slot = heapq.heappop(self._free)
        elif self._next < self._board.slots:
            slot, self._next = self._next, self._next + 1
        else:
            return -1
        self._board.publish(slot)
        return slot

    def _wake(self) -> None:
        """Free the rows that have rested, unless a long request still counts there."""
        until = self._clock() - REST
        for owner, (slot, since) in list(self._resting.items()):
            if since > until:
                break  # they are in the order of their release
            if self._board.in_flight(slot) <= 0:
                del self._resting[owner]
                heapq.heappush(self._free, slot)
                self._full = False

    def keep(self) -> None:
        """Write what changed to the file. A failure is logged: a control after this one would then begin anew."""
        if not self._dirty or self._path is None:
            return
        self._dirty = False
        try:
            with open(f"{self._path}.new", "wb") as file:
                file.write(msgspec.msgpack.encode(_Kept(self._used, self._resting)))
            os.replace(f"{self._path}.new", self._path)
        except OSError as error:
            _log.error("cannot write %s: %s", self._path, error)

    def _read(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                kept = msgspec.msgpack.decode(file.read(), type=_Kept)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            _log.error("cannot read %s: %s", path, error)
            return
        self._used, self._resting = kept.used, kept.resting
        taken = {*kept.used.values(), *(slot for slot, _ in kept.resting.values())}
        self._next = max(taken, default=-1) + 1
        self._free = sorted(set(range(self._next)) - taken)
