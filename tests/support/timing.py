"""Whether two pieces of work take equally long, on a machine that has other things to do.

Batches of both are timed in turns, in random order, so that whatever disturbs the machine disturbs both. Of each, the
fastest quarter is what the work itself takes; the rest is interruptions. What counts is the ratio of their medians.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

ROUNDS, BATCH = 120, 50


def ratio(first: Callable[[], object], second: Callable[[], object], seed: int = 1) -> float:
    """How long `first` takes, as a multiple of `second`."""
    rng = random.Random(seed)
    spent: dict[Callable[[], object], list[float]] = {first: [], second: []}
    for _ in range(ROUNDS):
        for work in rng.sample([first, second], 2):
            started = time.perf_counter()
            for _ in range(BATCH):
                work()
            spent[work].append(time.perf_counter() - started)
    quick = [statistics.median(sorted(spent[work])[: ROUNDS // 4]) for work in (first, second)]
    return quick[0] / quick[1]


def equally_long(first: Callable[[], object], second: Callable[[], object], margin: float, tries: int = 6) -> bool:
    """Whether any of some measurements finds the two within `margin` of each other. A true difference is in all of
    them; an interruption is not."""
    return any(abs(ratio(first, second, seed) - 1) < margin for seed in range(tries))
