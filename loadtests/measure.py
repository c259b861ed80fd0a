"""The statistics of a benchmark: spreads over rounds, ratios within rounds, verdicts against aims. Pure functions.

A machine's speed drifts by tens of percent while a benchmark runs, so absolute figures of two moments do not compare.
Peers therefore take turns (A B A B ...), a ratio is taken within one round only, and what is reported is the median of
those ratios with the smallest and the largest of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of one figure over the rounds, in the figure's unit."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    """The spread of one figure over rounds. Raises ValueError when there is none."""
    if not values:
        raise ValueError("no rounds to summarise")
    return Spread(median(values), min(values), max(values), len(values))


def ratios(subject: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Subject over peer, round by round; rounds without a figure of the peer to divide by are left out."""
    return [a / b for a, b in zip(subject, peer, strict=True) if b > 0]


def percentile(ordered: Sequence[float], q: float) -> float:
    """The value below which a share `q` (0 to 1) of the sorted values lies, by nearest rank."""
    if not ordered:
        raise ValueError("no values")
    if not 0 <= q <= 1:
        raise ValueError(f"q must lie in 0..1, got {q}")
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def microseconds_each(seconds: float, requests: int) -> float:
    """CPU time per request in microseconds, from the CPU seconds that `requests` requests took."""
    if requests <= 0:
        raise ValueError(f"requests must be > 0, got {requests}")
    return seconds / requests * 1e6


def turns(names: Sequence[str], rounds: int) -> list[list[str]]:
    """The order of peers for each round: every second round runs backwards, so a steady drift favours nobody."""
    return [list(names) if index % 2 == 0 else list(reversed(names)) for index in range(rounds)]
