"""What stands between a gateway and its store passes on, waits, or lies, as it is told."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from loadtests.cache import between as module
from loadtests.cache.between import GARBAGE, Between, limit
from tests.support.valkey import Valkey


def test_it_does_as_it_is_told(valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELAY", 0.2)

    async def run() -> None:
        between = Between(valkey.socket, tmp_path / "mode")
        socket = str(tmp_path / "s")
        server = await asyncio.start_unix_server(between.serve, socket)
        reader, writer = await asyncio.open_unix_connection(socket)

        async def ping() -> tuple[bytes, float]:
            started = time.monotonic()
            writer.write(b"PING\r\n")
            return await asyncio.wait_for(reader.read(100), 5), time.monotonic() - started  # noqa: TID251

        assert (await ping())[0] == b"+PONG\r\n"
        between.mode = "slow"
        answer, seconds = await ping()
        assert answer == b"+PONG\r\n"
        assert seconds > 0.15
        between.mode = "garbage"
        assert (await ping())[0] == GARBAGE
        await limit(valkey.socket, "1000000")
        assert b"1000000" in valkey.ask("CONFIG", "GET", "maxmemory")
        writer.close()
        server.close()
        await asyncio.sleep(0.05)

    asyncio.run(run())
