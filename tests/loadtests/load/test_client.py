"""A connection carries one request at a time and never hides its loss."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.load.client import Client, LoadError, Reply


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False


class Echo(Client):
    def _next_request(self) -> bytes:
        return b"ask"

    def data_received(self, data: bytes) -> None:
        self._finish(Reply(200, {}, bytearray(data)))


def test_exchange_and_loss() -> None:
    async def scenario() -> None:
        client, transport = Echo(), Transport()
        with pytest.raises(LoadError, match="between requests"):
            client.ask()
        client.connection_made(transport)
        waiting = client.ask()
        client.data_received(b"answer")
        assert (await waiting).body == b"answer"
        assert transport.written == [b"ask"]
        lost = client.ask()
        client.connection_lost(None)
        with pytest.raises(LoadError, match="closed by the peer"):
            await lost

    asyncio.run(scenario())
