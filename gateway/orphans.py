"""Processes whose parent ended before them. They fall to the supervisor, which must reap them or they stay as zombies.

A Triton outlives the control that started it, and the helper processes of its Python models outlive a Triton that is
killed. An init would reap them where there is one; in a container the supervisor is often process 1 itself, or a child
of one that reaps nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
from collections.abc import Iterator

_PR_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """Have all descendants whose parent ends become children of this process (prctl(2)). Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


class Reaper:
    """Reaps orphans that ended. The children in `own`, which this process has started itself, are left to whoever waits
    for them: if they were reaped here nobody would learn how they ended."""

    def __init__(self) -> None:
        self.own: set[int] = set()
        self._starting = 0

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """A child of our own is being started, and may end before its id is in `own`: until then nobody is reaped."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self.reap()

    def reap(self) -> list[int]:
        """Reap those that there are; returns their process ids."""
        if self._starting:
            return []
        reaped = []
        for pid in _children():
            with contextlib.suppress(ChildProcessError):  # somebody else waited for it meanwhile
                if pid not in self.own and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None:
                    reaped.append(pid)
        return reaped


def _children() -> list[int]:
    found: list[int] = []
    for path in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:  # a thread may have ended
            found += map(int, file.read().split())
    return found
