"""How often metrics pages are read: what one endpoint deserves, and what all of them may take. Pure."""

from __future__ import annotations

import math

GRID = 0.025
"""Seconds between the moments at which looks and polls begin: the process wakes up for several at once, which costs
less."""
NODE_SHARE = 0.085
"""The most of a core that control may take for the polling of all endpoints."""
LOOK_CPU = 150e-6
"""Seconds that a look takes at most, on a slow machine, beside twice what it takes to understand the page: sockets,
timers, turns of the loop. Nobody measures it alone; it bounds what of control's CPU time is put down to looks."""
SLOWEST_STRETCH = 50.0
BUDGET_FADE = 2.0
QUIET = 5.0
"""Seconds without anything going on after which an endpoint is looked at more rarely."""
SLOWEST_QUIET = 1.0
"""Seconds from one look at a quiet endpoint to the next: how late others' first requests are seen. Those of this node
wake the scraper."""
SLOWEST_FAILING = 60.0
"""Seconds from one try to the next at an endpoint that has no page."""
CPU_SHARE = 0.05
"""The most of a core that the pages of one endpoint may take: of 10,000 models, one takes 0.1 s to read."""


def on_grid(at: float) -> float:
    """The first moment from `at` on at which something may begin."""
    return math.ceil(at / GRID) * GRID


class Pace:
    """How long to wait for the next look, in seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._quiet_for = 0.0
        self._failures = 0
        self._pause = interval

    def good(self, warm: bool, cpu: float) -> float:
        """After a page. `warm`: something goes on there. `cpu`: seconds that it took to read."""
        self._failures = 0
        self._quiet_for = 0.0 if warm else self._quiet_for + self._pause
        pause = self._interval
        if self._quiet_for > QUIET:
            pause = max(pause, min(2 * self._pause, SLOWEST_QUIET))
        self._pause = max(pause, cpu / CPU_SHARE)
        return self._pause

    def failed(self) -> float:
        """After a failure."""
        self._failures += 1
        self._pause = max(self._interval, min(self._interval * 2.0 ** min(self._failures, 20), SLOWEST_FAILING))
        return self._pause

    def wake(self) -> None:
        """Something begins: the next pause is short again."""
        self._quiet_for = 0.0
        self._failures = 0
        self._pause = self._interval

    @property
    def quiet(self) -> bool:
        """Nothing goes on, so looks are rare."""
        return self._quiet_for > QUIET

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures


class Budget:
    """How much slower than configured all pages together must be read, so that they take no more than `NODE_SHARE` of a
    core. What counts is the CPU time of the whole process, as far as looks can be the reason for it."""

    def __init__(self) -> None:
        self.stretch = 1.0
        self._most = 0.0
        self._wanted = 0.0

    def spend(self, cpu: float) -> None:
        """A page took so many seconds to understand."""
        self._most += 2 * cpu + LOOK_CPU

    def settle(self, elapsed: float, cpu: float) -> None:
        """Adjust `stretch`, `elapsed` seconds after the last time, in which this process had so many seconds of CPU."""
        wanted = min(cpu, self._most) / elapsed * self.stretch
        self._most = 0.0
        self._wanted += (1 - math.exp(-elapsed / BUDGET_FADE)) * (wanted - self._wanted)
        self.stretch = min(max(1.0, self._wanted / NODE_SHARE), SLOWEST_STRETCH)
