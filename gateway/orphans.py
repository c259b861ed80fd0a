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

_PR_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """Have all descendants whose parent ends become children of this process (prctl(2)). Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def reap() -> list[int]:
    """Reap the orphans that ended; returns their process ids. The children that this process started itself are left
    to whoever waits for them: they lead a process group, in the session of this process, as no orphan does."""
    reaped = []
    for pid in _children():
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # somebody else waited for it meanwhile
            own = os.getpgid(pid) == pid and os.getsid(pid) == os.getsid(0)
            if not own and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None:
                reaped.append(pid)
    return reaped


def _children() -> list[int]:
    found: list[int] = []
    for path in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:  # a thread may have ended
            found += map(int, file.read().split())
    return found
