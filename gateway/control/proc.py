"""What Linux says of processes, from proc(5)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

_PROC = "/proc"
_STATE, _GROUP, _STARTED = 0, 2, 19
"""Fields of /proc/PID/stat after the name, which is in parentheses."""


class Identity(NamedTuple):
    """A process as no other has been since the machine started: ids are used again."""

    pid: int
    started: int


def identify(pid: int) -> Identity | None:
    """The process with this id; None if there is none, or it ended and only waits to be reaped."""
    fields = _stat(pid)
    if fields is None or fields[_STATE] in ("Z", "X"):
        return None
    return Identity(pid, int(fields[_STARTED]))


def group_members(group: int) -> list[int]:
    """The processes of this process group that run."""
    return [pid for pid, fields in _stats() if int(fields[_GROUP]) == group and fields[_STATE] not in ("Z", "X")]


def memory_of(pids: list[int]) -> int:
    """Bytes of memory that these processes have together; what several share is counted once (proportional set size).
    One that ended meanwhile has none."""
    return sum(map(_proportional, pids))


def has_variable(pid: int, variable: str) -> bool:
    """Was this process started with `variable`, "NAME=VALUE"?"""
    try:
        with open(f"{_PROC}/{pid}/environ", "rb") as file:
            return variable.encode() in file.read().split(b"\0")
    except OSError:  # it ended, or is somebody else's
        return False


def _proportional(pid: int) -> int:
    try:
        with open(f"{_PROC}/{pid}/smaps_rollup", encoding="ascii") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except OSError:  # it ended
        return 0


def _stats() -> Iterator[tuple[int, list[str]]]:
    for name in os.listdir(_PROC):
        if name.isdecimal() and (fields := _stat(int(name))) is not None:
            yield int(name), fields


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"{_PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None
