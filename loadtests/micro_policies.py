"""What each policy costs a call that it lets through: `python -m loadtests.micro_policies`. With `--out FILE` it is
measured of the source and of the compiled build, and written there as Markdown.

Time of one core, in nanoseconds: of a chain with the policy less that of a chain with one that does nothing, the least
of some rounds. The call is the same again and again, with its head as it came; what must not be remembered is made
anew, and that is taken off too. What asks the store asks a real valkey-server on a Unix socket, and is measured in CPU
time of the process that asks. A policy that is added has its lines in `loadtests/costs`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop

import routing.call
from deploy.packaging.compiled import COMPILED, PROJECT, current
from deploy.process import Process
from loadtests import machine
from loadtests.costs import attempts, bodies, identity, limits
from loadtests.costs.case import Cases, Stage, turn
from loadtests.costs.measure import measure
from loadtests.report.markdown import grid
from routing.tasks import spawn
from state.client import Client
from state.server import command, find_server
from state.settings import Settings

ROUNDS = 500
PATIENCE = 60.0
"""Seconds that the store may take: while what waits for nothing is measured, the loop does not turn."""
PARTS = (identity, limits, bodies, attempts)
HEAD = """# What a policy costs

Nanoseconds of one core that each policy adds to a call that it lets through, by `make bench-policies`: the least of
{rounds} rounds, beside a chain with a policy that does nothing. A small request with policies takes some 30 µs in all;
`make bench` has that beside Envoy.

* Machine: {machine}
* {date}

"""
TAIL = """
* `rate_limit` that asks the store, and what it leases there: CPU of the worker, not of the store. `leased` has nearly
  all of what it lets through from its lease; calls that find none wait for one together.
* `cache: hit` is in the place of all that comes behind it, and of the endpoint.
* `mirror: each call` is with the whole of the copy but for its connection.
* Of `retry`, `hedge`, `fallback` and `concurrency`: calls that are answered at once, and none waits.
"""
Costs = dict[str, float]
"""Nanoseconds by what was measured."""


async def cases(stage: Stage) -> Cases:
    """All that are measured."""
    for part in PARTS:
        async for case in part.cases(stage):
            yield case


@asynccontextmanager
async def a_stage() -> AsyncIterator[Stage]:
    """With a store of its own. Raises `state.server.NoServer`."""
    with tempfile.TemporaryDirectory(prefix="penstock-micro-") as directory:
        socket = os.path.join(directory, "s")
        server = Process(command(find_server(), socket, directory), Path(directory, "log"))
        while not os.path.exists(socket):
            await turn(1)
        client = Client(Settings(path=socket, timeout=PATIENCE, connect_timeout=PATIENCE))
        running = spawn(client.run(), "store")
        try:
            await client.settled()
            yield Stage(directory, client)
        finally:
            running.cancel()
            server.stop(grace=5.0)


async def costs(rounds: int) -> Costs:
    """Of all cases, in this process."""
    found: Costs = {}
    async with a_stage() as stage:
        async for case in cases(stage):
            print(f"\r{case.title}\x1b[K", end="", file=sys.stderr, flush=True)
            found[case.title] = await measure(case, rounds)
    print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return found


def of_build(build: Path, rounds: int) -> Costs:
    """The same in a process that runs this build. Raises `subprocess.CalledProcessError`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(build), str(PROJECT)])}
    words = [sys.executable, "-P", "-m", "loadtests.micro_policies", "--json", "--rounds", str(rounds)]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True)
    found: Costs = json.loads(done.stdout)
    return found


def is_compiled() -> bool:
    """Whether this process runs the compiled build."""
    return Path(str(routing.call.__file__)).suffix != ".py"


def table(columns: dict[str, Costs]) -> str:
    """A line for each case, a column for each build."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    return grid(["policy", *columns], [[name, *(f"{each[name]:,.0f}" for each in columns.values())] for name in names])


def page(columns: dict[str, Costs], rounds: int) -> str:
    """The table, with what a reader must know."""
    facts = "; ".join(f"{name} {value}" for name, value in machine.facts().items())
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return HEAD.format(rounds=rounds, machine=facts, date=date) + table(columns) + "\n" + TAIL


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.micro_policies", description="What each policy costs.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--out", type=Path, help="a file for the page, with the compiled build if there is one")
    chosen = parser.parse_args(arguments)
    if chosen.out:
        builds = {"ns, interpreted": PROJECT} | ({"ns, compiled": COMPILED} if current() else {})
        columns = {name: of_build(build, chosen.rounds) for name, build in builds.items()}
        chosen.out.write_text(page(columns, chosen.rounds), encoding="utf-8")
        print(chosen.out)
        return 0
    found = uvloop.run(costs(chosen.rounds))
    print(json.dumps(found) if chosen.json else table({f"ns, {_build()}": found}))
    return 0


def _build() -> str:
    return "compiled" if is_compiled() else "interpreted"


if __name__ == "__main__":
    sys.exit(main())
