"""Clients that ask at their moments whatever becomes of their requests, and keep what each had for an answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from typing import NamedTuple

from loadtests.exchange import Address, Exchange
from loadtests.load.client import Client, LoadError
from loadtests.load.generator import REPLY_TIMEOUT, connections
from loadtests.load.http1 import Http1Client
from loadtests.load.timetable import poisson
from loadtests.overload.stage import MODEL

BODY = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1, 1], "data": [1]}]}).encode()


class Group(NamedTuple):
    """Requests of one tenant in one class."""

    tenant: str
    kind: str


class Answer(NamedTuple):
    """What became of a request: its status, 0 for none; `seconds` from when it was due; when it was sent and, if it
    ran, when that began, both on the machine's monotonic clock; `retry_after` as it was told."""

    group: Group
    due: float
    status: int
    seconds: float
    sent: float
    began: float | None
    retry_after: str


def exchange(token: str = "") -> Exchange:
    """The request, of the holder of this token."""
    credentials = (("authorization", f"Bearer {token}"),) if token else ()
    headers = (("content-type", "application/json"), *credentials)
    return Exchange("oip_json", f"/v2/models/{MODEL}/infer", headers, BODY, lambda _, __: None)


async def open_loop(
    address: Address, tokens: Mapping[Group, str], rates: Mapping[Group, float], seconds: float, seed: int
) -> list[Answer]:
    """Each group sends at its rate, by chance, over connections of its own."""
    groups = [
        _Group(group, address, tokens[group], poisson(rate, seconds, random.Random(seed * 100 + place)))
        for place, (group, rate) in enumerate(rates.items())
    ]
    start = time.monotonic() + 0.1
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(group.run(start)) for group in groups]
    return [answer for task in running for answer in task.result()]


class _Group:
    def __init__(self, group: Group, address: Address, token: str, moments: list[float]) -> None:
        self._group = group
        self._address = address
        self._exchange = exchange(token)
        self._moments = moments
        self._free: list[Http1Client] = []

    async def run(self, start: float) -> list[Answer]:
        async with asyncio.TaskGroup() as tasks:
            running = []
            for due in self._moments:
                await asyncio.sleep(max(0.0, start + due - time.monotonic()))
                running.append(tasks.create_task(self._one(start, due)))
        for client in self._free:
            client.close()
        return [task.result() for task in running]

    async def _one(self, start: float, due: float) -> Answer:
        """One request, on the connection that was used last, or a new one."""
        sent = time.monotonic()
        client = self._free.pop() if self._free else await self._connect()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                reply = await client.ask()
        except (LoadError, TimeoutError):
            client.close()
            return Answer(self._group, due, 0, time.monotonic() - start - due, sent, None, "")
        seconds = time.monotonic() - start - due
        self._free.append(client)
        began = json.loads(reply.body)["outputs"][0]["data"][0] / 1e9 if reply.status == 200 else None
        return Answer(self._group, due, reply.status, seconds, sent, began, reply.headers.get("retry-after", ""))

    async def _connect(self) -> Http1Client:
        loop, address = asyncio.get_running_loop(), self._address
        _, client = await loop.create_connection(
            lambda: Http1Client(self._exchange, address), address.host, address.port
        )
        return client


async def closed_loop(address: Address, count: int, seconds: float) -> float:
    """Answers a second that so many clients get who ask again at once: what the backend can do."""
    counted, start = 0, time.monotonic()

    async def one(client: Client) -> None:
        nonlocal counted
        while (now := time.monotonic()) < start + seconds:
            reply = await client.ask()
            counted += reply.status == 200 and now >= start + seconds / 4

    async with connections(exchange(), address, count) as clients:
        await asyncio.gather(*(one(client) for client in clients))
    return counted / (time.monotonic() - start - seconds / 4)
