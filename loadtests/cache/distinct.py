"""Requests at a fixed rate of which half ask something new: every number is asked twice, one after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from time import perf_counter

from loadtests.exchange import Address
from loadtests.load.client import LoadError

REPLY_TIMEOUT = 30.0
_SECOND = list(range(16))


async def asked(address: Address, connections: int, rate: float, requests: int, numbers: Iterator[int]) -> list[float]:
    """The latencies in seconds, sorted, of so many requests over so many connections; each answer is checked. Raises
    LoadError for a wrong one, OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    turns: asyncio.Queue[tuple[float, int] | None] = asyncio.Queue()
    latencies: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            while (turn := await turns.get()) is not None:
                due, number = turn
                async with asyncio.timeout(REPLY_TIMEOUT):
                    await _ask(reader, writer, number)
                latencies.append(perf_counter() - due)
        finally:
            writer.close()

    async def clock() -> None:
        begin, number = loop.time() + 0.05, 0
        for turn in range(requests):
            due = begin + turn / rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            number = number if turn % 2 else next(numbers)
            turns.put_nowait((perf_counter(), number))
        for _ in range(connections):
            turns.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(client())
        group.create_task(clock())
    return sorted(latencies)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    body = json.dumps(
        {
            "inputs": [
                {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": [number] * 16},
                {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "data": _SECOND},
            ]
        }
    ).encode()
    head = f"POST /v2/models/simple/infer HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
    reply = json.loads(await reader.readexactly(length))
    if not answer.startswith(b"http/1.1 200"):
        raise LoadError(f"{answer.splitlines()[0].decode()}: {reply}")
    if reply["outputs"][0]["data"] != [number + each for each in _SECOND]:
        raise LoadError(f"the sums for {number} are wrong")
