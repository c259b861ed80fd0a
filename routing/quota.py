"""A rate limit as it is written and as it is told: windows with names, and the fields of answers.

Fields are those of draft-ietf-httpapi-ratelimit-headers (2025-09): `RateLimit-Policy: "name";q=100;w=1` says that a
window has 100 units a second, `RateLimit: "name";r=50;t=1` that 50 may come now, and in how many seconds more: until
the window is whole, or of one that is used up, until a unit may come. Names are strings of RFC 9651.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from config.units import PERIODS, parse_rate
from routing.refusals import Fields
from state.gcra import MAX_WINDOWS, Window, Windows, wait_for

POLICY: Final = b"ratelimit-policy"
LEFT: Final = b"ratelimit"
_UNIT_NAMES: Final = {"requests": "", "bytes": ';qu="content-bytes"'}
_WORDS: Final = {seconds: word for word, seconds in PERIODS.items()}
BURST: Final = " burst "


class Quota:
    """The windows of a limit. `policy` is the field that tells them, `text` how an operator writes them."""

    __slots__ = ("_names", "_quoted", "policy", "rates", "windows")

    def __init__(self, name: str, unit: str, rates: Sequence[tuple[str, int | None]]) -> None:
        """`rates` are texts such as 100/s, each with the units that may come at once, None for those of its period.
        Raises `ValueError`."""
        parsed = [parse_rate(rate) for rate, _ in rates]
        self.rates = tuple(rate for rate, _ in rates)
        self.windows: Windows = tuple(
            Window(period / amount, burst or amount) for (amount, period), (_, burst) in zip(parsed, rates, strict=True)
        )
        self._names = [name] if len(rates) == 1 else [f"{name}-{_WORDS[period]}" for _, period in parsed]
        self._quoted = [string(each).encode() for each in self._names]
        told = _UNIT_NAMES.get(unit, f";qu={string(unit)}")
        self.policy = ", ".join(
            f"{string(each)};q={amount};w={int(period)}{told}"
            for each, (amount, period) in zip(self._names, parsed, strict=True)
        ).encode()

    def left(self, leads: Sequence[float], units: int = 0) -> bytes:
        """The field of what is left, where the windows' `tat` lie so far ahead. After a refusal of `units` they may
        come again after `t` seconds."""
        each = zip(self._quoted, leads, self.windows, strict=False)
        return b", ".join([_left(quoted, lead, window, units) for quoted, lead, window in each])

    def exceeded(self, leads: Sequence[float], units: int) -> list[str]:
        """The names of the windows that so many units are too much for."""
        each = zip(self._names, leads, self.windows, strict=False)
        return [name for name, lead, window in each if wait_for((lead,), (window,), units) > 0.0] or self._names

    def told(self, leads: Sequence[float]) -> Fields:
        """The fields of an answer that is no refusal."""
        return ((POLICY, self.policy), (LEFT, self.left(leads)))


def _left(quoted: bytes, lead: float, window: Window, units: int) -> bytes:
    """The part of one window."""
    interval, burst = window
    room, until = int(burst - lead / interval + 1e-6), lead
    if room <= 0 or units > room:
        wait = wait_for((lead,), (window,), max(1, units))
        room, until = max(0, room), wait if wait < math.inf else lead
    return b"%b;r=%d;t=%d" % (quoted, room, math.ceil(until))


@lru_cache(4096)
def own_quota(name: str, unit: str, text: str) -> Quota | None:
    """The limit that a key brings with it: `50/s`, `50/s burst 100`, several with commas between. None for text that is
    no such thing."""
    rates: list[tuple[str, int | None]] = []
    for part in text.split(","):
        rate, _, burst = part.strip().partition(BURST)
        if burst and not (burst.isascii() and burst.isdigit() and 0 < len(burst) < 13):
            return None
        rates.append((rate, int(burst) if burst else None))
    try:
        return Quota(name, unit, rates) if len(rates) <= MAX_WINDOWS else None
    except ValueError:
        return None


def string(text: str) -> str:
    """A String of RFC 9651 §3.3.3."""
    return (
        '"'
        + "".join(each if each.isprintable() and each.isascii() else "?" for each in text)
        .replace("\\", "\\\\")
        .replace('"', '\\"')
        + '"'
    )
