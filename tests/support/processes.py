"""What is left of processes, for tests that nothing is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def members(group: int) -> list[int]:
    """The processes of this process group, without those that have ended and only wait to be reaped."""
    return [pid for pid, fields in _all() if int(fields[2]) == group and fields[0] != "Z"]


def cpu_seconds(group: int) -> float:
    """CPU time that the processes of this group have taken, in user and kernel mode."""
    ticks = sum(int(fields[11]) + int(fields[12]) for _, fields in _all() if int(fields[2]) == group)
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether `condition` comes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _all() -> list[tuple[int, list[str]]]:
    """(pid, the fields of /proc/PID/stat from the third on, see proc(5)) of each process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended between the listing and the reading
            continue
        found.append((int(entry.parent.name), fields))
    return found
