"""What a child owes the supervisor: to die with it, even when that one gets SIGKILL, and exit codes that say why."""

from __future__ import annotations

import ctypes
import os
import signal
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of all processes."""

    OK = 0
    FAILED = 1
    BAD_CONFIG = 2
    CANNOT_LISTEN = 3  # at a child's first start this ends the gateway, since no restart will help


_PR_SET_PDEATHSIG = 1


def hold(parent: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).

    SIGKILL and not SIGTERM: listeners are shared by SO_REUSEPORT, so a survivor that drains would take connections from
    the gateway that is started next. Raises `SystemExit` if `parent`, a process id, is gone already, and `OSError`
    if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit(f"the supervisor {parent} is gone")
