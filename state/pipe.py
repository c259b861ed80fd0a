"""The way to a single server: one connection on which nothing waits for an answer before the next command is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from state import StateError
from state.batch import Batch, Take
from state.connection import Connection
from state.resp import encode


class Pipe:
    """A connection that has been let in, and what waits for answers there. `take` gets them as they come, some or all
    of a batch at once; `lost` is called once when it ends, whoever ended it, and then the rest fails; `why` says so
    afterwards."""

    def __init__(self, connection: Connection, take: Take) -> None:
        self.lost: Callable[[StateError], None] = lambda error: None
        self.why: StateError | None = None
        self._connection = connection
        self._take = take
        self._waiting: deque[Batch] = deque()
        connection.told, connection.lost = self._told, self._ended

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self._connection.open

    @property
    def behind(self) -> bool:
        """Whether more waits to be sent than is good."""
        return self._connection.behind

    def send(self, batch: Batch) -> None:
        """Send it."""
        self._waiting.append(batch)
        self._connection.write(encode(batch.commands))

    def close(self, why: StateError) -> None:
        """End it now."""
        self._connection.close(why)

    def _told(self, answers: list[Any]) -> None:
        waiting, take, at = self._waiting, self._take, 0
        while at < len(answers):
            if not waiting:
                self.close(StateError("the store answers more than it was asked", "garbage"))
                return
            batch = waiting[0]
            count = len(batch.futures) - batch.at
            take(batch, answers[at : at + count])
            at += count
            if batch.at == len(batch.futures):
                waiting.popleft()

    def _ended(self, error: StateError) -> None:
        waiting = [*self._waiting]
        self._waiting.clear()
        self.why = error
        self.lost(error)
        for batch in waiting:
            batch.fail(error)
