"""A meter that nobody reads costs nothing and takes everything; a client counts in one that is read."""

from __future__ import annotations

import asyncio

from state.meter import Meter, Unseen
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey


def test_by_itself_it_counts_for_nobody() -> None:
    meter = Meter()
    meter.commands.value += 1
    meter.errors("timeout").value += 1
    meter.seconds.observe(0.1)
    assert meter.errors("timeout").value == 0


class Seconds:
    def __init__(self) -> None:
        self.values: list[float] = []

    def observe(self, value: float) -> None:
        self.values.append(value)


def test_a_client_counts(valkey: Valkey) -> None:
    async def run() -> None:
        seconds, errors = Seconds(), Unseen()
        meter = Meter(errors=lambda reason: errors, seconds=seconds)
        async with a_client(at(valkey), meter) as state:
            assert meter.up.value == 1
            before = len(seconds.values)
            await asyncio.gather(*(state.do("PING") for _ in range(10)))
            assert meter.commands.value == 10
            assert len(seconds.values) == before + 1
            assert 0 < seconds.values[-1] < 1
            valkey.kill()
            await asyncio.gather(state.do("PING"), return_exceptions=True)
            assert meter.up.value == 0
            assert errors.value == 1

    asyncio.run(run())
