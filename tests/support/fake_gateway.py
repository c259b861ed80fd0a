"""The `penstock` program with a data plane that speaks lines, so that tests of the processes need no HTTP.

Run as a script it takes penstock's arguments. The configuration is JSON; a mistake in it is a `CommandError`.
Lines a client may send: `pid`, `slow SECONDS`, `world`, `refresh POOL`, `key ID` (its standing), `block SECONDS`
(stops the event loop).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path

import msgspec

from config.schema import Config
from gateway import cli
from gateway.key_ring import Ring
from gateway.telemetry.metrics import Metrics
from gateway.worker_main import Refresh
from gateway.world import KeySet, Places, World
from routing.load_board import LoadBoard
from state.keys import standing


def load_json(path: str, warn: object = None) -> Config:
    """A `Config` from JSON."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Config)
    except (msgspec.MsgspecError, OSError) as error:
        raise cli.CommandError(f"{path}: {error}\n{path}: another problem") from error


class LineDataPlane:
    """Implements `gateway.worker_main.DataPlane`."""

    def __init__(self, worker: int, metrics: Metrics, refresh: Refresh, board: LoadBoard) -> None:
        self.ready = False
        self._refresh = refresh
        self._requests = metrics.counter("penstock_requests_total", ("fake", "inference", "OK", ""))
        self._connections = metrics.gauge("penstock_connections", ("fake", "lines"))
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.world: World | None = None
        self.keys = Ring()
        self.places = Places({})

    async def apply(self, world: World) -> None:
        self.world = world
        if self._server is None:
            host, _, port = world.config.listen[0].address.rpartition(":")
            sock = socket.create_server((host, int(port)), reuse_port=True)
            self._server = await asyncio.start_server(self._serve, sock=sock)
        self.ready = True

    def take_keys(self, keys: KeySet) -> None:
        self.keys.take(keys)

    def take_places(self, places: Places) -> None:
        self.places = places

    def report(self) -> None:
        self._connections.value = len(self._open)

    async def drain(self, delay: float, timeout: float) -> None:
        self.ready = False
        if self._server is not None:
            self._server.close()
        if self._open:
            await asyncio.wait(self._open, timeout=timeout)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while line := await reader.readline():
                self._requests.value += 1
                writer.write((await self._answer(line.decode().split()) + "\n").encode())
                await writer.drain()
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, words: list[str]) -> str:
        match words:
            case ["slow", seconds]:
                await asyncio.sleep(float(seconds))
            case ["block", seconds]:
                time.sleep(float(seconds))
            case ["refresh", pool]:
                await self._refresh(pool)
            case ["key", id]:
                record = self.keys.find(id)
                return standing(record, time.time()) if record is not None else "none"
            case ["world"]:
                assert self.world is not None
                live = {name: [one.live for one in pool] for name, pool in self.world.pools.items()}
                return json.dumps({"generation": self.world.generation, "draining": self.world.draining, "live": live})
        return str(os.getpid())


if __name__ == "__main__":
    launcher = (sys.executable, "-P", str(Path(__file__).resolve()))
    sys.exit(cli.main(parts=cli.Parts(load_json, LineDataPlane, launcher)))
