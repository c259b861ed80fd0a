"""A small HTTP/1.1 server of one page, in the test's own event loop, that fails as it is told."""

from __future__ import annotations

import asyncio
from typing import Literal

Fault = Literal[
    "", "404", "hang", "close", "half", "stop", "garbage", "chunked", "until end", "huge", "close after", "close once"
]


class PageServer:
    """Serves `page` at any path. `requests` has the request lines; `connections` counts."""

    def __init__(self, page: bytes = b"# TYPE up gauge\nup 1\n") -> None:
        self.page = page
        self.fault: Fault = ""
        self.requests: list[str] = []
        self.connections = 0
        self.at_once = 0
        self.delay = 0.0
        self.address = ""
        self._stopping = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> PageServer:
        self._stopping.clear()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def stop(self) -> None:
        if self._server is not None:
            await asyncio.sleep(0.01)  # what was accepted just now becomes a connection, which a closed server cannot
            self._server.close()
            self._stopping.set()
            while self._writers:
                for writer in self._writers:
                    writer.transport.abort()
                await asyncio.sleep(0.01)
            self._server = None

    async def __aenter__(self) -> PageServer:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head.decode().partition("\r\n")[0])
                await asyncio.sleep(self.delay)
                if not await self._answer(writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.page) + self.page
        match self.fault:
            case "404":
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone")
            case "hang":
                await self._stopping.wait()
                return False
            case "close":
                return False
            case "close once":
                self.fault = ""
                return False
            case "half":
                writer.write(whole[:-5])
                return False
            case "garbage":
                writer.write(b"\x00\x01 this is no HTTP\r\n\r\n")
            case "chunked":
                parts = b"".join(
                    b"%x\r\n%b\r\n" % (len(self.page[i : i + 7]), self.page[i : i + 7])
                    for i in range(0, len(self.page), 7)
                )
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
            case "until end":
                writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + self.page)
                return False
            case "huge":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                    await writer.drain()
            case "close after":
                writer.write(whole)
                return False
            case _:
                writer.write(whole)
        return True
