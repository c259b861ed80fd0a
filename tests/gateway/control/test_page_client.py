"""Getting a page, from servers that behave and from others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.control import page_client as module
from gateway.control.page_client import NoPage, PageClient
from tests.support.gateway_process import free_port
from tests.support.page_server import Fault, PageServer

Scene = Callable[[PageServer, PageClient], Awaitable[None]]


def play(scene: Scene) -> None:
    async def run() -> None:
        async with asyncio.timeout(10), PageServer() as server:
            client = PageClient(server.address, "/metrics?x=1")
            try:
                await scene(server, client)
            finally:
                client.close()

    asyncio.run(run())


def test_pages_come_over_one_connection() -> None:
    async def scene(server: PageServer, client: PageClient) -> None:
        for size in (10, 200_000, 0, 5000):
            server.page = b"x" * size
            assert await client.get(1.0) == server.page
        assert server.connections == 1
        assert server.requests == ["GET /metrics?x=1 HTTP/1.1"] * 4

    play(scene)


@pytest.mark.parametrize("fault", ["chunked", "until end", "close after"])
def test_every_way_to_end_a_page_is_understood(fault: Fault) -> None:
    async def scene(server: PageServer, client: PageClient) -> None:
        server.fault = fault
        for _ in range(3):
            assert await client.get(1.0) == server.page
            await asyncio.sleep(0.01)

    play(scene)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [("404", "refused"), ("hang", "slow"), ("close", "unreachable"), ("half", "bad"), ("garbage", "bad")],
)
def test_every_failure_has_its_name_and_the_next_page_comes(fault: Fault, failure: str) -> None:
    async def scene(server: PageServer, client: PageClient) -> None:
        server.fault = fault
        for _ in range(2):
            with pytest.raises(NoPage) as caught:
                await client.get(0.1)
            assert caught.value.failure == failure
        server.fault = ""
        assert await client.get(1.0) == server.page

    play(scene)


def test_a_page_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_LIMIT", 1_000_000)

    async def scene(server: PageServer, client: PageClient) -> None:
        server.fault = "huge"
        with pytest.raises(NoPage, match="more than 1000000 bytes"):
            await client.get(5.0)

    play(scene)


def test_a_server_that_was_started_again_is_asked_on_a_new_connection() -> None:
    async def scene(server: PageServer, client: PageClient) -> None:
        await client.get(1.0)
        port = int(server.address.rpartition(":")[2])
        await server.stop()
        with pytest.raises(NoPage) as caught:
            await client.get(1.0)
        assert caught.value.failure == "unreachable"
        await server.start(port)
        assert await client.get(1.0) == server.page

    play(scene)


def test_a_connection_that_the_server_closed_while_asked_is_no_failure() -> None:
    async def scene(server: PageServer, client: PageClient) -> None:
        await client.get(1.0)
        server.fault = "close once"
        assert await client.get(1.0) == server.page
        assert server.connections == 2

    play(scene)


def test_nobody_listens() -> None:
    async def run() -> None:
        with pytest.raises(NoPage) as caught:
            await PageClient(f"[::1]:{free_port()}", "/").get(1.0)
        assert caught.value.failure == "unreachable"

    asyncio.run(run())


def test_a_get_that_is_cancelled_leaves_nothing_behind() -> None:
    async def scene(server: PageServer, client: PageClient) -> None:
        server.fault = "hang"
        getting = asyncio.get_running_loop().create_task(client.get(5.0))
        while not server.requests:
            await asyncio.sleep(0)
        getting.cancel()
        await asyncio.wait([getting])
        server.fault = ""
        assert await client.get(1.0) == server.page
        assert server.connections == 2

    play(scene)
