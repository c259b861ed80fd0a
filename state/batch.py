"""Commands that travel together, and who waits for their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from state import Argument, StateError

Command = tuple[Argument, ...]
Future = asyncio.Future[Any]
Take = Callable[["Batch", Sequence[Any]], None]


class Batch:
    """`at` is how many have their answers; `sent` is when they left and `due` until when they are waited for, by the
    loop's clock."""

    __slots__ = ("at", "commands", "due", "futures", "sent")

    def __init__(self, commands: list[Command], futures: list[Future], sent: float, due: float) -> None:
        self.commands = commands
        self.futures = futures
        self.sent = sent
        self.due = due
        self.at = 0

    def fail(self, error: StateError) -> int:
        """Nobody waits for the rest any more. Returns how many did."""
        waiting = [future for future in self.futures[self.at :] if not future.done()]
        for future in waiting:
            fail(future, error)
        return len(waiting)


def fail(future: Future, error: StateError) -> None:
    """Let `future` raise an error of its own, so that tracebacks do not add up; that nobody looks at it is no news."""
    future.set_exception(StateError(str(error), error.reason))
    future.exception()
