"""Durations, sizes, shares and rates as an operator writes them: `250ms`, `1m30s`, `64MiB`, `20%`, `100/s`.

A bare number is seconds, or bytes. A size names its base: `KiB MiB GiB` are powers of 1024, `kB MB GB` powers of 1000;
a lone `k` or `M` means one to some readers and the other to the rest, so it is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal

DURATION = "a duration such as 250ms, 10s or 1m30s"
SIZE = "a size such as 64MiB, 500kB or 1048576"
NUMBER = "a number such as 0.2, 20% or 3"
RATE = "a rate such as 100/s, 600/min, 1000/h or 10000/d"

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_SECONDS = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
    "us": Decimal("0.000001"),
}
_PARTS = re.compile("".join(f"(?:({_NUMBER}){unit})?" for unit in _SECONDS))
_BYTES = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_SIZE = re.compile(f"({_NUMBER}) ?([A-Za-z]{{0,3}})")
PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""The periods of rates, in seconds."""
_RATE = re.compile(f"([1-9][0-9]{{0,11}})/({'|'.join(PERIODS)})")


def parse_duration(text: str) -> float:
    """Seconds of `text`: parts from the largest unit to the smallest (d h m s ms us), each at most once.

    Raises ValueError, whose message says what was expected.
    """
    if re.fullmatch(_NUMBER, text):
        return float(text)
    parts = _PARTS.fullmatch(text)
    if not text or parts is None:
        raise ValueError(f"expected {DURATION}, got {text[:40]!r}")
    return float(sum(Decimal(n) * unit for n, unit in zip(parts.groups(), _SECONDS.values(), strict=True) if n))


def parse_size(text: str) -> int:
    """Bytes of `text`. A fraction is fine where it comes to whole bytes (`1.5MiB`).

    Raises ValueError, whose message says what was expected.
    """
    match = _SIZE.fullmatch(text)
    number, unit = match.groups() if match else ("", "")
    if unit in ("k", "K", "M", "G"):
        clear = f"{number}{unit.upper()}iB or {number}{'k' if unit == 'k' else unit}B"
        raise ValueError(f"expected {SIZE}, got {text[:40]!r}, which is ambiguous: write {clear}")
    if not number or unit not in _BYTES:
        raise ValueError(f"expected {SIZE}, got {text[:40]!r}")
    size = Decimal(number) * _BYTES[unit]
    if size != int(size):
        raise ValueError(f"expected a whole number of bytes, got {text[:40]!r}")
    return int(size)


def parse_number(text: str) -> float:
    """A decimal number ≥ 0, or a share of one in percent: `20%` is 0.2. Raises ValueError."""
    number = text.removesuffix("%")
    if not re.fullmatch(_NUMBER, number):
        raise ValueError(f"expected {NUMBER}, got {text[:40]!r}")
    return float(Decimal(number) / 100 if text.endswith("%") else Decimal(number))


def parse_rate(text: str) -> tuple[int, float]:
    """How many, and in how many seconds: `600/min` is (600, 60.0). Raises ValueError."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected {RATE}, got {text[:40]!r}")
    return int(match[1]), PERIODS[match[2]]


def format_number(number: float) -> str:
    """The shortest way to write a number from 1e-9 to 1e15, or 0; `parse_number` reads it back."""
    return f"{Decimal(repr(number)):f}".removesuffix(".0")


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration ≥ 0, rounded to microseconds; `parse_duration` reads it back."""
    left, parts = round(Decimal(repr(seconds)), 6), []
    for unit, length in _SECONDS.items():
        count, left = divmod(left, length)
        if count:
            parts.append(f"{int(count)}{unit}")
    return "".join(parts) or "0s"


def format_size(size: int) -> str:
    """The shortest exact way to write a number of bytes ≥ 0; `parse_size` reads it back."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)
