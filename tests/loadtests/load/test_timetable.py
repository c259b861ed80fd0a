"""Open-loop load by a timetable: when requests are due, and that waiting counts from then."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from statistics import mean, pstdev
from typing import cast

import pytest

from loadtests.exchange import Address, Exchange
from loadtests.load.client import LoadError
from loadtests.load.timetable import Answered, keep, poisson
from tests.support.scripted_server import http_reply

EXCHANGE = Exchange("oip_json", "/x", (), b"{}", lambda headers, body: None)
SERVICE = 0.05


async def kept(timetable: list[float], connections: int, reply: bytes = http_reply(b"{}")) -> list[Answered]:
    """Against a server that takes `SERVICE` seconds for each request of a connection."""

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(cast("asyncio.Task[None]", asyncio.current_task()))
        with suppress(ConnectionError):
            while await reader.read(10_000):
                await asyncio.sleep(SERVICE)
                writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            return await keep(
                EXCHANGE, Address("127.0.0.1", server.sockets[0].getsockname()[1]), timetable, connections
            )
        finally:
            await asyncio.wait(serving, timeout=5)


def test_independent_clients() -> None:
    """Pauses of a Poisson process are as long as they vary, and follow from the seed."""
    moments = poisson(200.0, 50.0, random.Random(1))
    pauses = [b - a for a, b in zip([0.0, *moments], moments, strict=False)]
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    assert mean(pauses) == pytest.approx(0.005, rel=0.05)
    assert pstdev(pauses) == pytest.approx(0.005, rel=0.05)
    assert 0 < moments[0] <= moments[-1] < 50
    assert poisson(200.0, 50.0, random.Random(1)) == moments


def test_requests_go_out_when_due_whatever_became_of_those_before() -> None:
    answered = asyncio.run(kept([0.0, 0.01, 0.02], connections=3))
    assert [each.due for each in answered] == [0.0, 0.01, 0.02]
    assert all(each.late < SERVICE / 2 and SERVICE <= each.seconds < 1.9 * SERVICE for each in answered)


def test_waiting_counts_from_the_moment_that_a_request_was_due() -> None:
    first, second, third = asyncio.run(kept([0.0, 0.0, 0.0], connections=1))
    assert first.seconds >= SERVICE
    assert second.late >= SERVICE
    assert second.seconds >= 2 * SERVICE
    assert third.seconds >= 3 * SERVICE


def test_an_error_ends_the_run() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(kept([0.0], 1, http_reply(b'{"error":"busy"}', "503 Service Unavailable")))
    assert raised.group_contains(LoadError, match="503")


def test_no_requests_are_no_answers() -> None:
    assert asyncio.run(kept([], 1)) == []
