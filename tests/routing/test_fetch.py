"""One document, bounded, from nowhere else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from routing.fetch import MOST_BYTES, FetchFailed, fetch, read_file
from tests.support.page_server import Fault, PageServer


def test_the_body_of_a_page() -> None:
    async def story() -> None:
        async with PageServer(b"x" * 200_000) as server:
            assert await fetch(f"http://{server.address}/keys?a=b") == b"x" * 200_000
            server.fault = "chunked"
            assert len(await fetch(f"http://{server.address}/")) == 200_000
            assert server.requests[0] == "GET /keys?a=b HTTP/1.1"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("404", "answered 404"),
        ("hang", "no answer within 0.3 s"),
        ("close", "Disconnected"),
        ("half", "Payload"),
        ("garbage", "^ClientResponseError$"),
        ("huge", "more than 100000 bytes"),
    ],
)
def test_what_goes_wrong_is_said_in_time(fault: Fault, why: str) -> None:
    async def story() -> None:
        async with PageServer() as server:
            server.fault = fault
            started = time.monotonic()
            seconds = 0.3 if fault == "hang" else 10.0
            with pytest.raises(FetchFailed, match=why):
                await fetch(f"http://{server.address}/", most_bytes=100_000, seconds=seconds)
            assert time.monotonic() - started < 8.0

    asyncio.run(story())


def test_nobody_there() -> None:
    async def story() -> None:
        async with PageServer() as server:
            address = server.address
        with pytest.raises(FetchFailed, match="ClientConnectorError"):
            await fetch(f"http://{address}/")

    asyncio.run(story())


class Elsewhere(PageServer):
    """Sends everybody to another address."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % self.target.encode())
        return True


def test_a3_nobody_is_sent_anywhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with PageServer() as inner, Elsewhere(f"http://{inner.address}/") as outer:
            monkeypatch.setenv("HTTP_PROXY", f"http://{inner.address}")
            monkeypatch.setenv("http_proxy", f"http://{inner.address}")
            with pytest.raises(FetchFailed, match="answered 302"):
                await fetch(f"http://{outer.address}/")
            assert inner.requests == []

    asyncio.run(story())


def test_a_file_of_authorities_that_is_not_there() -> None:
    with pytest.raises(FetchFailed, match="No such file"):
        asyncio.run(fetch("https://127.0.0.1:1/", "/nowhere/ca.pem"))


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(FetchFailed, match="No such file"):
        asyncio.run(read_file(file))
    file.write_bytes(b"x" * MOST_BYTES)
    assert len(asyncio.run(read_file(file))) == MOST_BYTES
    file.write_bytes(b"x" * (MOST_BYTES + 1))
    with pytest.raises(FetchFailed, match="more than 1048576 bytes"):
        asyncio.run(read_file(file))
