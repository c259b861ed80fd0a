"""What is left of processes, for tests that nothing is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def members(group: int) -> list[int]:
    """The processes of this process group, without those that have ended and only wait to be reaped."""
    return [pid for pid, state, pgrp in _all() if pgrp == group and state != "Z"]


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether `condition` comes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _all() -> list[tuple[int, str, int]]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended between the listing and the reading
            continue
        found.append((int(entry.parent.name), fields[0], int(fields[2])))
    return found
