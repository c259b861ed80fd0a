"""Load from this process: `closed` keeps every connection busy, `opened` asks at a fixed rate. Every answer is checked.

At a fixed rate a request's time counts from its turn, not from when a connection was free to send it, so a slow peer
cannot hide the waiting that it causes. The event loop's timers are late by up to a millisecond; that is not counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loadtests.exchange import Address, Exchange
from loadtests.load.client import Client, LoadError, Reply
from loadtests.load.http1 import Http1Client
from loadtests.load.http2 import Http2Client

CONNECTING_AT_ONCE = 100
REPLY_TIMEOUT = 30.0


@dataclass(frozen=True)
class Load:
    """What was sent: requests answered, wall time in seconds, latencies in seconds (sorted; none from h2load)."""

    requests: int
    seconds: float
    latencies: tuple[float, ...] = ()


async def ask(exchange: Exchange, address: Address) -> Reply:
    """One request on a connection of its own, its answer verified. Raises LoadError, WrongAnswerError, OSError."""
    async with connections(exchange, address, 1) as (client,):
        async with asyncio.timeout(REPLY_TIMEOUT):
            reply = await client.ask()
    check_status(exchange, reply)
    exchange.verify(reply.headers, bytes(reply.body))
    return reply


def check_status(exchange: Exchange, reply: Reply) -> None:
    """Raises LoadError unless HTTP, and gRPC where it is used, say that all went well."""
    status = reply.headers.get("grpc-status", "missing") if exchange.grpc else "0"
    if reply.status != 200 or status != "0":
        text = reply.headers.get("grpc-message") or bytes(reply.body[:200]).decode(errors="replace")
        raise LoadError(f"HTTP status {reply.status}, grpc-status {status}: {text}")


@asynccontextmanager
async def connections(exchange: Exchange, address: Address, count: int) -> AsyncIterator[list[Client]]:
    """Open connections, closed at the end."""
    clients: list[Client] = []
    try:
        while len(clients) < count:
            batch = min(CONNECTING_AT_ONCE, count - len(clients))
            clients += await asyncio.gather(*(_connect(exchange, address) for _ in range(batch)))
        yield clients
    finally:
        for client in clients:
            client.close()


async def _connect(exchange: Exchange, address: Address) -> Client:
    kind = Http2Client if exchange.grpc else Http1Client
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: kind(exchange, address), address.host, address.port)
    return client


async def closed(exchange: Exchange, address: Address, expected: Reply, count: int, requests: int) -> Load:
    """`requests` requests over `count` connections, each sending its next as soon as it has its answer."""
    todo = iter(range(requests))

    async def one(client: Client) -> None:
        for _ in todo:
            _compare(exchange, await client.ask(), expected)

    async with connections(exchange, address, count) as clients:
        start = time.perf_counter()
        await asyncio.gather(*(one(client) for client in clients))
        return Load(requests, time.perf_counter() - start)


class Opened:
    """Requests at a fixed rate, evenly spaced, each on a connection that is free at that moment."""

    def __init__(self, exchange: Exchange, clients: list[Client], expected: Reply) -> None:
        self._exchange, self._expected = exchange, expected
        self._free: asyncio.Queue[Client] = asyncio.Queue()
        for client in clients:
            self._free.put_nowait(client)

    async def run(self, rate: float, requests: int) -> Load:
        """`rate` in requests per second. Raises LoadError at the first bad answer."""
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for index in range(requests):
                await asyncio.sleep(start + index / rate - time.perf_counter())
                tasks.append(group.create_task(self._one(time.perf_counter())))
        return Load(requests, time.perf_counter() - start, tuple(sorted(task.result() for task in tasks)))

    async def _one(self, began: float) -> float:
        client = await self._free.get()
        async with asyncio.timeout(REPLY_TIMEOUT):
            reply = await client.ask()
        seconds = time.perf_counter() - began
        _compare(self._exchange, reply, self._expected)
        self._free.put_nowait(client)
        return seconds


async def opened(exchange: Exchange, address: Address, expected: Reply, count: int, rate: float, requests: int) -> Load:
    """`requests` requests at `rate` per second over `count` connections; each connection has answered once before."""
    async with connections(exchange, address, count) as clients:
        for client in clients:
            _compare(exchange, await client.ask(), expected)
        return await Opened(exchange, clients, expected).run(rate, requests)


def _compare(exchange: Exchange, reply: Reply, expected: Reply) -> None:
    check_status(exchange, reply)
    if reply.body != expected.body:
        raise LoadError(f"an answer differs from the checked one: {bytes(reply.body[:200])!r}")
