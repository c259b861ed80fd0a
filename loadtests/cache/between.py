"""A process between a gateway and its store, which passes everything on, a second late, or answers garbage:

    python -m loadtests.cache.between STORE SOCKET MODE_FILE
    python -m loadtests.cache.between limit STORE BYTES          # how much the store may hold, 0 for no limit

The file has one word: `well`, `slow` or `garbage`; it is looked at ten times a second.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

DELAY = 1.0
LOOK = 0.1
GARBAGE = b"*1\r\n$-5\r\nnonsense"


class Between:
    """Everything it passes on is as `mode` says."""

    def __init__(self, store: str, mode_file: Path) -> None:
        self._store = store
        self._file = mode_file
        self.mode = "well"

    async def watch(self) -> None:
        """Follow the file."""
        while True:
            self.mode = self._file.read_text() or self.mode
            await asyncio.sleep(LOOK)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the gateway."""
        try:
            there, back = await asyncio.open_unix_connection(self._store)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._ask(reader, back, writer), self._answer(there, writer))

    async def _ask(
        self, reader: asyncio.StreamReader, store: asyncio.StreamWriter, gateway: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                if self.mode == "garbage":
                    gateway.write(GARBAGE)
                else:
                    store.write(data)
        except OSError:
            pass  # either is gone
        finally:
            store.close()

    async def _answer(self, store: asyncio.StreamReader, gateway: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await store.read(1 << 16):
                if self.mode == "slow":
                    loop.call_later(DELAY, _write, gateway, data)
                else:
                    gateway.write(data)
        except OSError:
            pass  # either is gone
        finally:
            gateway.close()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


async def run(store: str, socket: str, mode_file: str) -> None:
    """Serve until killed."""
    between = Between(store, Path(mode_file))
    server = await asyncio.start_unix_server(between.serve, socket)
    async with server:
        await between.watch()


async def limit(store: str, size: str) -> None:
    """Set how much the store may hold."""
    reader, writer = await asyncio.open_unix_connection(store)
    writer.write(b"CONFIG SET maxmemory %d\r\n" % int(size))
    await reader.readline()
    writer.close()


if __name__ == "__main__":
    if sys.argv[1] == "limit":
        uvloop.run(limit(*sys.argv[2:]))
    else:
        uvloop.run(run(*sys.argv[1:]))
