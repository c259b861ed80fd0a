"""What the kernel says about processes: their descendants, CPU time and memory. Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_CPUCLOCK_SCHED = 2


class ProcessGoneError(RuntimeError):
    """A process that was being measured has ended."""


def family(roots: Iterable[int]) -> list[int]:
    """The processes `roots` and all their descendants that are alive now."""
    found: list[int] = []
    todo = list(roots)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo.extend(_children(pid))
    return sorted(found)


def _children(pid: int) -> list[int]:
    """Direct children: each thread of a process lists those that it started."""
    try:
        lists = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except FileNotFoundError:
        return []
    return [int(child) for text in lists for child in text.split()]


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, those that ended included, in seconds.

    The process's CPU clock (clock_getcpuclockid(3): `~pid << 3 | CPUCLOCK_SCHED`) is the scheduler's own sum with a
    resolution of nanoseconds; /proc/PID/stat has the same sum in ticks of 10 ms and serves where the clock is refused.
    Raises ProcessGoneError.
    """
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return _cpu_ticks(pid) / os.sysconf("SC_CLK_TCK")


def _cpu_ticks(pid: int) -> int:
    """utime + stime of proc(5), fields 14 and 15; the command's name before them may hold blanks and brackets."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        raise ProcessGoneError(f"process {pid} has ended") from None
    return int(fields[11]) + int(fields[12])


class CpuMeter:
    """CPU time that some processes and their descendants use from now on.

    A descendant born later counts in full. One that ends while measured is an error, for its time would be lost.
    """

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = tuple(roots)
        self._before = {pid: cpu_seconds(pid) for pid in family(self._roots)}

    def seconds(self) -> float:
        """CPU seconds since the meter was made. Raises ProcessGoneError."""
        now = family(self._roots)
        if gone := self._before.keys() - set(now):
            raise ProcessGoneError(f"processes {sorted(gone)} ended while they were measured")
        return sum(cpu_seconds(pid) - self._before.get(pid, 0.0) for pid in now)


def memory_bytes(roots: Iterable[int]) -> int:
    """Resident memory of processes and descendants; pages that several share count once in all (Pss of proc(5))."""
    return sum(_pss(pid) for pid in family(roots))


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ProcessGoneError(f"process {pid} has no memory map: it has ended")
