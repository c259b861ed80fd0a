"""Two gateways with two workers each on one store: a key works everywhere soon, and is refused everywhere sooner."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from config.schema import State
from state.key_store import KeyStore
from state.keys import KeyRecord
from tests.support.deadline import until
from tests.support.gateway_process import Client, GatewayProcess, a_config, free_port
from tests.support.index_server import IndexServer
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey

WORKERS = 2
REVOKED_WITHIN = 1.0
RECORD = KeyRecord("abcdefghijkl", b"\x07" * 32, "alice")


class Pair:
    """Two gateways, and a connection to each worker of each."""

    def __init__(self, gateways: list[GatewayProcess], clients: list[Client]) -> None:
        self.gateways = gateways
        self.clients = clients

    def standings(self, id: str = RECORD.id) -> list[str]:
        return [client.ask(f"key {id}") for client in self.clients]

    def within(self, standing: str) -> float:
        """Seconds until all workers say so."""
        began = time.perf_counter()
        until(lambda: set(self.standings()) == {standing}, 5)
        return time.perf_counter() - began


def to_each_worker(gateway: GatewayProcess, stack: contextlib.ExitStack) -> list[Client]:
    """The kernel spreads connections; some tries find all workers."""
    found: dict[str, Client] = {}
    for _ in range(100):
        client = stack.enter_context(gateway.connect())
        found.setdefault(client.ask("pid"), client)
        if len(found) == WORKERS:
            return list(found.values())
    raise AssertionError("the kernel gave all connections to one worker")


@pytest.fixture
def pair(valkey: Valkey, tmp_path: Path) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        triton = IndexServer()
        triton.start()
        stack.callback(triton.stop)
        gateways = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            config = a_config(triton.address, admin=f"127.0.0.1:{free_port()}")
            config = msgspec.structs.replace(config, state=State(f"unix:{valkey.socket}"))
            gateways.append(GatewayProcess(tmp_path / name, config, WORKERS))
            stack.callback(gateways[-1].kill)
        for gateway in gateways:
            gateway.wait_ready()
        yield Pair(gateways, [client for gateway in gateways for client in to_each_worker(gateway, stack)])


def change(valkey: Valkey, revoked: float | None = None) -> None:
    async def run() -> None:
        async with a_client(at(valkey, timeout=5.0)) as state:
            keys = KeyStore(state)
            await (keys.add(RECORD) if revoked is None else keys.change(RECORD.id, revoked=revoked))

    asyncio.run(run())


def test_revoked_on_all_workers_of_all_nodes(pair: Pair, valkey: Valkey) -> None:
    assert pair.standings() == ["none"] * 4
    change(valkey)
    assert pair.within("valid") < REVOKED_WITHIN
    change(valkey, revoked=1.0)
    assert pair.within("revoked") < REVOKED_WITHIN


def test_known_keys_outlast_the_store_control_and_workers(pair: Pair, valkey: Valkey) -> None:
    change(valkey)
    pair.within("valid")
    valkey.pause()
    first, second = pair.gateways
    first.signal(signal.SIGKILL, "control")
    second.signal(signal.SIGKILL, "worker 1")
    until(lambda: first.ready() and len(second.children()) == 1 + WORKERS and second.ready())
    assert pair.clients[0].ask(f"key {RECORD.id}") == "valid"
    assert {second.ask(f"key {RECORD.id}") for _ in range(20)} == {"valid"}
    valkey.resume()
    change(valkey, revoked=1.0)
    until(lambda: {first.ask(f"key {RECORD.id}") for _ in range(10)} == {"revoked"})
