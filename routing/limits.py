"""How long the answer of a stream may take: until its first message, between two of them, and in all.

One timer for each stream that has limits. What is due is looked at when it fires, so a message costs no more than to
note when it came.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Final

from routing.connectors.outcome import Expired
from transcoding.status import Code, GatewayError

LEAST: Final = 0.001
"""Seconds: a timer that is set again waits so long at least, as the loop's clock may be as coarse."""


class StreamLimits:
    """The limits of one stream, as policies and the client set them; times are in the event loop's, `first_byte` and
    `idle` in seconds, None for no limit. `total` is what a policy allows for all of the answer until `total_by`; it is
    the deadline unless that of the client is earlier."""

    __slots__ = ("_answered", "_deadline", "_expired", "_heard", "_loop", "_paused", "_timer", "first_by",
                 "first_byte", "idle", "total", "total_by")  # fmt: skip

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.first_byte: float | None = None
        self.first_by: float | None = None
        self.idle: float | None = None
        self.total: float | None = None
        self.total_by: float | None = None
        self._loop = loop
        self._deadline: float | None = None
        self._expired: Callable[[Expired], None] | None = None
        self._timer: TimerHandle | None = None
        self._answered = False
        self._paused = False
        self._heard = 0.0

    def within(self, now: float, first_byte: float | None, idle: float | None) -> None:
        """Allow no longer than this from `now` on, in seconds; what was allowed before still holds when it is less."""
        if first_byte is not None and (self.first_by is None or now + first_byte < self.first_by):
            self.first_by, self.first_byte = now + first_byte, first_byte
        if idle is not None and (self.idle is None or idle < self.idle):
            self.idle = idle

    def first_due(self, deadline: float | None) -> float | None:
        """When the first message must be there."""
        first = self.first_by
        return first if deadline is None or (first is not None and first < deadline) else deadline

    def begin(self, deadline: float | None, expired: Callable[[Expired], None]) -> None:
        """The request was sent. Once `expired` is called, with what to tell the client, nothing more is."""
        self.end()
        self._deadline, self._expired = deadline, expired
        self._answered = self._paused = False
        due = self._due()
        if due is not None or self.idle is not None:
            self._heard = self._loop.time()
            self._timer = None if due is None else self._loop.call_at(due, self._look)

    def heard(self) -> None:
        """A message came."""
        if self._timer is None and self.idle is None:
            return
        self._heard = self._loop.time()
        if not self._answered:
            self._answered = True
            self._set()

    def paused(self, paused: bool) -> None:
        """Whether the client reads too slowly for more to come: that time is its own."""
        if self._paused and not paused:
            self._heard = self._loop.time()
        self._paused = paused

    def end(self) -> None:
        """The answer is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> float | None:
        if not self._answered:
            return self.first_due(self._deadline)
        if self.idle is None:
            return self._deadline
        quiet = self._heard + self.idle
        return quiet if self._deadline is None or quiet < self._deadline else self._deadline

    def _set(self) -> None:
        self.end()
        due = self._due()
        if due is not None:
            self._timer = self._loop.call_at(max(due, self._loop.time() + LEAST), self._look)

    def _look(self) -> None:
        """Is it over? When a message came meanwhile, or the client does not read, the time is another."""
        self._timer = None
        now = self._loop.time()
        if self._paused and self._answered:
            self._heard = now
        due = self._due()
        if due is None:
            return
        if now < due:
            self._set()
        elif self._expired is not None:
            self._expired(self._error(due, now))

    def _error(self, due: float, now: float) -> Expired:
        """What the client is told, and for breakers how long the endpoint said nothing."""
        error = Expired(now - self._heard)
        if due == self._deadline:
            if due == self.total_by and self.total is not None:
                name_total(error, self.total)
        elif self._answered:
            _say(error, f"deadline exceeded: no further message of the answer for {self.idle:g} s (timeout.idle)")
        else:
            _say(error, f"deadline exceeded: no message of an answer in {self.first_byte:g} s (timeout.first_byte)")
        return error


def name_total(error: GatewayError, seconds: float) -> None:
    """Say of an error, if it is that the deadline passed and nothing more, that it was a policy's for a whole call."""
    if error.code is Code.DEADLINE_EXCEEDED and error.message.lower() == "deadline exceeded":
        _say(error, f"deadline exceeded: the answer was not complete in {seconds:g} s (timeout.total)")


def _say(error: GatewayError, message: str) -> None:
    error.message = message
    error.args = (message,)
