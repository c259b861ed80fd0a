"""Control and one worker in one loop, here in this process, with a real endpoint and real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import Iterator

import msgspec
import pytest

from config.schema import Admin, Drain
from gateway.lifeline import Exit
from gateway.single import Single
from tests.support.deadline import eventually
from tests.support.fake_gateway import LineDataPlane
from tests.support.gateway_process import Client, a_config, free_port
from tests.support.index_server import IndexServer


@pytest.fixture
def triton() -> Iterator[IndexServer]:
    server = IndexServer()
    server.start()
    yield server
    server.stop()


def readyz(address: str) -> bool:
    with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
        ready: bool = json.loads(answer.read())["ready"]
        return ready


def test_serves_and_drains(triton: IndexServer, capsys: pytest.CaptureFixture[str]) -> None:
    config = a_config(triton.address, admin=f"127.0.0.1:{free_port()}", drain=Drain(0.1, 5.0))

    def ask(line: str) -> str:
        with Client(config.listen[0].address) as client:
            return client.ask(line)

    async def run() -> int:
        single = Single(config, LineDataPlane)
        running = asyncio.get_running_loop().create_task(single.run())
        await eventually(lambda: single._announced)
        assert await asyncio.to_thread(readyz, config.admin.address)
        assert json.loads(await asyncio.to_thread(ask, "world"))["live"] == {"p": [True]}
        triton.models = []
        await asyncio.to_thread(ask, "refresh p")
        assert json.loads(await asyncio.to_thread(ask, "world"))["generation"] == 2
        slow = asyncio.get_running_loop().create_task(asyncio.to_thread(ask, "slow 0.5"))
        await asyncio.sleep(0.1)
        single.stop()
        assert await slow
        return await running

    assert asyncio.run(run()) == Exit.OK
    assert capsys.readouterr().out.count("penstock: serving on") == 1


def test_a_second_stop_ends_it_at_once(triton: IndexServer) -> None:
    async def run() -> int:
        single = Single(a_config(triton.address, drain=Drain(60.0, 60.0)), LineDataPlane)
        running = asyncio.get_running_loop().create_task(single.run())
        await eventually(lambda: single._announced)
        single.stop()
        await asyncio.sleep(0.05)
        assert not running.done()
        single.stop()
        async with asyncio.timeout(5):
            return await running

    assert asyncio.run(run()) == Exit.FAILED


@pytest.mark.parametrize("taken", ["admin", "listen"])
def test_a_port_that_is_taken_ends_it(taken: str, triton: IndexServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        config = a_config(triton.address, listen=address if taken == "listen" else "")
        if taken == "admin":
            config = msgspec.structs.replace(config, admin=Admin(address))

        async def run() -> int:
            async with asyncio.timeout(10):
                return await Single(config, LineDataPlane).run()

        assert asyncio.run(run()) == Exit.CANNOT_LISTEN
