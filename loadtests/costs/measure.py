"""Nanoseconds that a policy adds to a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from loadtests.costs.case import Case, turn
from loadtests.costs.pools import answer
from routing.call import Call, Handler, Reply, link

WAITING_CALLS = 2000
WAITING_SHARE = 0.03
"""Of the rounds, how many are made of what waits: one of these has so many more calls."""


class _Nothing:
    """A policy that does nothing: what a link of a chain costs in any case is not of those measured."""

    async def __call__(self, call: Call, next: Handler) -> Reply:
        return await next(call)


async def measure(case: Case, rounds: int) -> float:
    """What it adds to a call, in nanoseconds: the least of the rounds with the policy, less the least of those with one
    that does nothing."""
    chain, empty = link([case.policy], answer), link([_Nothing()], answer)
    await chain(next(case.calls()))  # what has to be read first
    if case.at_a_time:
        counted = max(2, round(rounds * WAITING_SHARE))
        spent = [(await _waiting(chain, case), await _waiting(empty, case)) for _ in range(counted)]
    else:
        calls = case.calls()
        spent = [(await _at_once(chain, calls, case), await _at_once(empty, calls, case)) for _ in range(rounds)]
    return (min(whole for whole, _ in spent) - min(without for _, without in spent)) * 1e9


async def _at_once(chain: Handler, calls: Iterator[Call], case: Case) -> float:
    """Seconds for each call."""
    started = time.perf_counter()
    for _ in range(case.per_round):
        await chain(next(calls))
    await turn(case.turns)
    return (time.perf_counter() - started) / case.per_round


async def _waiting(chain: Handler, case: Case) -> float:
    """CPU seconds of this process for each call."""

    async def ask() -> None:
        calls = case.calls()
        for _ in range(WAITING_CALLS // case.at_a_time):
            await chain(next(calls))

    started = time.process_time()
    await asyncio.gather(*(ask() for _ in range(case.at_a_time)))
    return (time.process_time() - started) / WAITING_CALLS
