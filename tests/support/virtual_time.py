"""An event loop whose clock jumps to the next timer: waiting takes no time, and no other load makes anything late."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
TURN = 1e-5
"""Seconds that a turn of the loop takes, so that what waits by looking again and again gets on."""


class Jump(selectors.DefaultSelector):
    """Waits by adding to `now`, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready already; of real input nothing is waited for."""
        if timeout is None:
            raise RuntimeError("this would wait for ever: nothing is due")
        self.now += max(timeout, TURN)
        return super().select(0)


class VirtualTime(asyncio.SelectorEventLoop):
    """Its `time` is that of `clock`."""

    def __init__(self) -> None:
        self._jump = Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds since the loop was made, all of them waited for."""
        return self._jump.now


def clock() -> float:
    """The time of the running loop, for what is given a clock; 0 before there is one."""
    loop = asyncio._get_running_loop()  # type: ignore[attr-defined]
    return 0.0 if loop is None else float(loop.time())


def play(scene: Coroutine[Any, Any, T]) -> T:
    """What `scene` returns, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(scene)
