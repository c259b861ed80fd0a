"""What policies are given, for tests: counters to look at, and a clock to turn."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from policies import Services
from routing.call import Call
from routing.endpoint import Endpoint
from routing.limits import StreamLimits
from routing.pool import Pool
from tests.support.clock import Clock
from tests.support.pools import a_call


class Count:
    def __init__(self) -> None:
        self.value: float = 0


class Counts:
    """Counters of any family; `counts["family", "label"]` is a value."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], Count] = defaultdict(Count)

    def __call__(self, family: str, labels: tuple[str, ...] = (), /) -> Count:
        return self._counts[(family, *labels)]

    def __getitem__(self, key: tuple[str, ...]) -> float:
        return self._counts[key].value

    def all(self) -> dict[tuple[str, ...], float]:
        return {key: count.value for key, count in self._counts.items() if count.value}


def some_services(counts: Counts | None = None, clock: Clock | None = None, **more: Any) -> Services:
    """Services with a clock of their own when one is given, else real time."""
    if clock is not None:
        more |= {"clock": clock, "sleep": clock.sleep}
    return Services(counts or Counts(), more.pop("pools", {}), rng=random.Random(1), **more)


class Exchange:
    """The beginning of a stream, as policies see it."""

    def __init__(self) -> None:
        self.limits = StreamLimits(asyncio.get_running_loop())
        self.spent = False

    def at(self, pool: Pool, call: Call) -> Endpoint | None:
        return None

    async def ask(self, pool: Pool, call: Call, endpoint: Endpoint) -> None:
        await endpoint.channel.unary(call)

    def at_end(self, done: Callable[[], None]) -> None:
        raise NotImplementedError


def a_stream() -> Call:
    """A call that a stream answers."""
    call = a_call()
    call.exchange = Exchange()
    return call
