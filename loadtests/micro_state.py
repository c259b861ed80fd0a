"""What a command to the state store costs: `python -m loadtests.micro_state`.

A private valkey-server, one GET each, asked by 1, 16 and 64 tasks at once. CPU time of this process and time that
passes, in microseconds per command: by our client, by redis-py as it comes, and by redis-py with the commands of a turn
of the loop gathered into one of its pipelines. Rounds take turns; the median counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import redis.asyncio
import uvloop
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from loadtests.report.markdown import grid
from state.client import Client
from state.server import command, find_server
from state.settings import Settings

TASKS = (1, 16, 64)
COMMANDS = 10_000
ROUNDS = 5

Do = Callable[..., Awaitable[Any]]


class Gathered:
    """The commands of a turn in one pipeline of redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    def do(self, *words: Any) -> asyncio.Future[Any]:
        """The answer to one command."""
        future = self._loop.create_future()
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append((words, future))
        return future

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        task = self._loop.create_task(self._send(batch))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for words, _ in batch:
            pipeline.execute_command(*words)
        for (_, future), answer in zip(batch, await pipeline.execute(), strict=True):
            future.set_result(answer)


@contextlib.asynccontextmanager
async def ways(socket: str) -> AsyncIterator[dict[str, Do]]:
    """Each way to ask, by name."""
    ours = Client(Settings(path=socket, timeout=1.0))
    running = asyncio.get_running_loop().create_task(ours.run())
    await ours.settled()
    theirs = redis.asyncio.Redis(unix_socket_path=socket, retry=Retry(NoBackoff(), 0))
    try:
        yield {"ours": ours.do, "redis-py": theirs.execute_command, "redis-py, gathered": Gathered(theirs).do}
    finally:
        running.cancel()
        await asyncio.wait([running])
        await theirs.aclose()


async def measure(do: Do, tasks: int, commands: int = COMMANDS) -> tuple[float, float]:
    """CPU and wall time of one command, in microseconds."""

    async def ask() -> None:
        for _ in range(commands // tasks):
            await do(b"GET", "penstock:key")

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(tasks)))
    done = commands // tasks * tasks
    return (time.process_time() - cpu) / done * 1e6, (time.perf_counter() - wall) / done * 1e6


async def table(socket: str, commands: int = COMMANDS, rounds: int = ROUNDS) -> list[list[str]]:
    """A row for each way: CPU and wall time for each number of tasks."""
    async with ways(socket) as all_ways:
        await all_ways["ours"]("SET", "penstock:key", "x" * 16)
        seen: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for tasks in TASKS:
                for name, do in all_ways.items():
                    seen.setdefault((name, tasks), []).append(await measure(do, tasks, commands))
    return [
        [name, *(" / ".join(f"{median(each):.1f}" for each in zip(*seen[name, n], strict=True)) for n in TASKS)]
        for name in all_ways
    ]


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory() as directory:
        socket = os.path.join(directory, "s")
        server = subprocess.Popen(command(find_server(), socket, directory), stdout=subprocess.DEVNULL)
        try:
            while not Path(socket).exists():
                time.sleep(0.01)
            rows = uvloop.run(table(socket))
        finally:
            server.kill()
            server.wait()
    print(grid(["CPU / wall, µs", *(f"{n} at once" for n in TASKS)], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
