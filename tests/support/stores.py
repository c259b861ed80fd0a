"""Clients of a store, and stores that misbehave: what answers late, and what answers nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from state.client import Client
from state.cluster import ClusterClient, make
from state.meter import Meter, Unseen
from state.settings import Settings
from tests.support.valkey import Valkey


def at(valkey: Valkey, **more: Any) -> Settings:
    """Settings for this server. The time for a command is longer than in production: test machines pause."""
    return Settings(path=valkey.socket, **{"timeout": 0.1, **more})


@contextlib.asynccontextmanager
async def a_client(settings: Settings, meter: Meter | None = None) -> AsyncIterator[Client | ClusterClient]:
    """A client that runs, and has tried the store once."""
    client = make(settings, meter)
    running = asyncio.get_running_loop().create_task(client.run())
    try:
        settled = asyncio.get_running_loop().create_task(client.settled())
        await asyncio.wait([settled, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        yield client
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class CountingMeter(Meter):
    """`counted` is what was counted, by reason."""

    def __init__(self) -> None:
        self.counted: dict[str, Unseen] = {}
        super().__init__(errors=lambda reason: self.counted.setdefault(reason, Unseen()))

    def count(self, reason: str) -> float:
        return self.counted[reason].value if reason in self.counted else 0


class Between:
    """A Unix socket in front of a server: what it passes on is `delay` seconds late. With `rude`, what comes from a
    client is answered by what that says, and nothing is passed on."""

    def __init__(self, target: str, path: Path, rude: Callable[[bytes], bytes] | None = None) -> None:
        self.path = str(path)
        self.delay = 0.0
        self._target = target
        self._rude = rude
        self.rude = False

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Between]:
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_unix_connection(self._target)
            tasks.add(asyncio.get_running_loop().create_task(self._pass(reader, up_writer, writer)))
            tasks.add(asyncio.get_running_loop().create_task(self._pass(up_reader, writer, None)))

        server = await asyncio.start_unix_server(serve, self.path)
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # transports close in the turn after

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter | None
    ) -> None:
        try:
            while data := await reader.read(65536):
                if back is not None and self._rude is not None and self.rude:
                    back.write(self._rude(data))
                    continue
                if back is None and self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
        except OSError:
            pass  # one end went away
        finally:
            writer.close()
