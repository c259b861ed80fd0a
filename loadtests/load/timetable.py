"""Open-loop load by a timetable: each request is due at its moment, whatever became of those before it.

A latency runs from the moment when the request was due, not from when it was sent, so that a stall of the server or of
this process is in the latency of every request that came due meanwhile ("coordinated omission").
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.exchange import Address, Exchange
from loadtests.load.client import Client, LoadError, Reply
from loadtests.load.generator import REPLY_TIMEOUT, check_status, connections


@dataclass(frozen=True)
class Answered:
    """A request that was answered: when it was due (seconds after the start), how much later it was sent, how much
    later its answer was whole, and the answer."""

    due: float
    late: float
    seconds: float
    reply: Reply


def poisson(rate: float, seconds: float, rng: random.Random) -> list[float]:
    """Moments in `seconds` seconds at which independent clients send, `rate` a second on average."""
    moments = []
    at = rng.expovariate(rate)
    while at < seconds:
        moments.append(at)
        at += rng.expovariate(rate)
    return moments


async def keep(exchange: Exchange, address: Address, timetable: Sequence[float], count: int) -> list[Answered]:
    """Send `exchange` at each moment, over `count` connections in turn, which are opened first. Raises LoadError."""
    async with connections(exchange, address, count) as clients:
        return await _Run(exchange, clients).run(timetable)


class _Run:
    def __init__(self, exchange: Exchange, clients: list[Client]) -> None:
        self._exchange = exchange
        self._free: asyncio.Queue[Client] = asyncio.Queue()
        for client in clients:
            self._free.put_nowait(client)

    async def run(self, timetable: Sequence[float]) -> list[Answered]:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for due in timetable:
                await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
                tasks.append(group.create_task(self._one(start, due)))
        return [task.result() for task in tasks]

    async def _one(self, start: float, due: float) -> Answered:
        client = await self._free.get()
        late = time.perf_counter() - start - due
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                reply = await client.ask()
        except TimeoutError:
            raise LoadError(f"no answer within {REPLY_TIMEOUT:.0f} s") from None
        seconds = time.perf_counter() - start - due
        check_status(self._exchange, reply)
        self._free.put_nowait(client)
        return Answered(due, late, seconds, reply)
