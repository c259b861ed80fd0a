"""Budgets against abuse: what a peer may cost without doing work.

Each connection has two. `nuisances` pays for frames that cost us something and carry nothing: PING, SETTINGS (each
value), PRIORITY, WINDOW_UPDATE, empty DATA, unknown types, frames for closed streams, 1xx responses, oversized header
lists, and streams opened above the limit before our SETTINGS were acknowledged. `resets` pays for streams that end
early by the peer's doing: its own RST_STREAM (rapid reset, CVE-2023-44487), and those that we must reset for its
mistakes (MadeYouReset, CVE-2025-8671).

A budget refills by useful work, finished streams and bytes of DATA, and by time when the connection has a clock. Both
are only looked at when the budget is spent, so that a peer which behaves costs nothing. Empty means GOAWAY with
ENHANCE_YOUR_CALM. A refill never exceeds the capacity, hence no past behaviour buys more than two capacities at once.

Other floods are bounded where they happen: CONTINUATION by count and bytes in `connection`, streams by
`Http2Limits.max_streams`, header lists in `hpack`, buffered DATA by the windows.
"""

from __future__ import annotations

from collections.abc import Callable

from transcoding.http2.errors import ErrorCode, ProtocolError


def no_time() -> float:
    """The clock of a connection without one: it stands still, and only work refills the budgets."""
    return 0.0


class Budget:
    """A bucket of tokens that work and time refill."""

    __slots__ = ("_capacity", "_clock", "_left", "_rate", "_reason", "_since", "_work")

    def __init__(self, reason: str, capacity: int, rate: float, clock: Callable[[], float] = no_time) -> None:
        self._reason = reason
        self._capacity = capacity
        self._rate = rate
        self._clock = clock
        self._left = float(capacity)
        self._since = clock()
        self._work = 0

    def spend(self, work: int, cost: int = 1) -> None:
        """Take `cost` tokens; `work` is the connection's useful work so far, in tokens.

        Raises ProtocolError(ENHANCE_YOUR_CALM) when neither work nor time covers it.
        """
        self._left -= cost
        if self._left < 0:
            self._refill(work)

    def _refill(self, work: int) -> None:
        now = self._clock()
        earned = (work - self._work) + (now - self._since) * self._rate
        self._left = min(self._left + earned, float(self._capacity))
        self._work, self._since = work, now
        if self._left < 0:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, self._reason)

    def __repr__(self) -> str:
        return f"Budget({self._reason!r}, {self._left:.0f} of {self._capacity})"
