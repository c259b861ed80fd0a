"""What limits cost a call that they let through: `python -m loadtests.micro_limits`.

CPU time of this process, in nanoseconds for each call: of a chain with the policy less that of a chain without it, the
least of some rounds. What asks the store does so at a real valkey-server on a Unix socket, whose own time is not in it,
with one call at a time and with many at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import uvloop

from loadtests.micro_policies import ROUNDS, Case, a_call, a_policy, again, answer, measure, services
from loadtests.report.markdown import grid
from policies import Siblings
from routing.call import Call, Handler, Policy, link
from routing.identity import Identity
from routing.tasks import spawn
from state.client import Client
from state.server import find_server
from state.settings import Settings

CALLS = 2000
ASYNC_ROUNDS = 15
ALICE = Identity("alice", "acme", frozenset({"infer"}), "api_key")
PLENTY: dict[str, Any] = {"rate": "100000000/s", "burst": 100_000_000}


def at_once(directory: Path) -> Iterator[Case]:
    """What waits for nothing."""
    call = again(_caller())
    quiet: dict[str, Any] = {**PLENTY, "mode": "local", "headers": False}
    yield Case("rate_limit, local, one worker, no headers", a_policy("rate_limit", **quiet), call)
    yield Case("rate_limit, local, one worker", a_policy("rate_limit", mode="local", **PLENTY), _told())
    shared = services(siblings=Siblings(str(directory), 0, 8))
    yield Case("rate_limit, local, of 8 workers", a_policy("rate_limit", shared, mode="local", **PLENTY), _told())
    windows: list[Any] = [PLENTY, {**PLENTY, "rate": "1000000000/min"}]
    yield Case("rate_limit, local, two windows", a_policy("rate_limit", shared, mode="local", windows=windows), _told())
    yield Case("concurrency, one worker", a_policy("concurrency", limit={"fixed": 64}), call)
    yield Case("concurrency, of 8 workers", a_policy("concurrency", shared, limit={"fixed": 64}), call)
    adaptive = {"adaptive": {"initial": 8, "max": 64}}
    yield Case("concurrency, adaptive", a_policy("concurrency", limit=adaptive), call)


def _caller() -> Call:
    return a_call(caller=ALICE)


def _told() -> Callable[[], Iterator[Call]]:
    """The same call, whose answer is a new one each time."""
    call = _caller()

    def calls() -> Iterator[Call]:
        while True:
            call.told = None
            yield call

    return calls


async def asked(socket: str, at_a_time: int) -> list[tuple[str, float]]:
    """Nanoseconds of what asks the store."""
    client = Client(Settings(path=socket, timeout=1.0))
    running = spawn(client.run(), "store")
    await client.settled()
    given = services(state=client)
    found = []
    for mode in ("leased", "exact"):
        policy = a_policy("rate_limit", given, mode=mode, **PLENTY)
        found.append((f"rate_limit, {mode}, {at_a_time} at a time", await _cost(policy, at_a_time)))
    running.cancel()
    return found


async def _cost(policy: Policy, at_a_time: int) -> float:
    chain, empty = link([policy], answer), link([], answer)
    spent = [await _spent(chain, at_a_time) - await _spent(empty, at_a_time) for _ in range(ASYNC_ROUNDS)]
    return min(spent) * 1e9


async def _spent(chain: Handler, at_a_time: int) -> float:
    """CPU seconds for each call."""

    async def ask() -> None:
        for _ in range(CALLS // at_a_time):
            waits: Awaitable[Any] = chain(_caller())
            await waits

    started = time.process_time()
    await asyncio.gather(*(ask() for _ in range(at_a_time)))
    return (time.process_time() - started) / CALLS


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What limits cost")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="penstock-micro-") as scratch:
        rows = [[case.name, f"{measure(case, rounds):,.0f}"] for case in at_once(Path(scratch))]
        socket = os.path.join(scratch, "s")
        words = [find_server(), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", scratch]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as server:
            try:
                while not os.path.exists(socket):
                    time.sleep(0.01)
                for at_a_time in (1, 16):
                    rows += [[name, f"{cost:,.0f}"] for name, cost in uvloop.run(asked(socket, at_a_time))]
            finally:
                server.terminate()
    print("ns of CPU that a limit adds to a call, beside a link of the chain\n")
    print(grid(["limit", "ns"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
