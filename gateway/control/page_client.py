"""Gets one page over HTTP/1.1, again and again, on a connection that is kept.

A hundred pages are asked for seven times a second each, so this is a protocol on the transport and httptools' parser: a
page costs a third or less of what a client library takes for it.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Transport
from typing import Literal, cast

from httptools import HttpParserError, HttpResponseParser

from gateway.control.metrics_page import PAGE_LIMIT

Failure = Literal["unreachable", "slow", "refused", "bad"]


class NoPage(Exception):
    """There was no page. `failure`: no connection, no answer in time, another status than 200, or no valid answer."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


class _Stale(Exception):
    """A kept connection ended before a byte of the answer came: the server had closed it."""


class PageClient:
    """Gets `path` from `address` (host:port)."""

    def __init__(self, address: str, path: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: penstock\r\n\r\n".encode("latin-1")
        self._connection: _Connection | None = None

    async def get(self, timeout: float) -> bytes:
        """The page, within `timeout` seconds. Raises `NoPage`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        connection, self._connection = self._connection, None
        try:
            if connection is not None and connection.open:
                try:
                    return await self._ask(connection, until)
                except _Stale:
                    pass  # ask once more, on a new one
            async with asyncio.timeout_at(until):
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
            return await self._ask(connection, until)
        except TimeoutError:
            raise NoPage("slow", f"no page within {timeout:g} s") from None
        except (OSError, _Stale) as error:
            raise NoPage("unreachable", str(error) or "the connection ended") from None

    async def _ask(self, connection: _Connection, until: float) -> bytes:
        try:
            page = await connection.get(self._request, until)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return page

    def close(self) -> None:
        """Close the connection, if any. The next page opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection, with one question at a time. The methods `on_…` are httptools'."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._transport: Transport | None = None
        self._answer: Future[bytes] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = False
        self._until_end = False
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self.open = True

    async def get(self, request: bytes, until: float) -> bytes:
        """The body of the answer, by `until` in the loop's time. Raises `NoPage`, `TimeoutError`, `_Stale`."""
        assert self._transport is not None
        answer: Future[bytes] = self._loop.create_future()
        self._answer = answer
        self._parts, self._size, self._begun = [], 0, False
        self._transport.write(request)
        timer = self._loop.call_at(until, self._fail, TimeoutError())
        try:
            return await answer
        finally:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._begun = True
        if self._answer is None:
            self.close()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(NoPage("bad", f"no HTTP: {error}"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200:
            self._fail(NoPage("refused", f"the server answers with status {status}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._until_end = False

    def on_message_begin(self) -> None:
        self._until_end = True

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > PAGE_LIMIT:
            self._fail(NoPage("bad", f"a page of more than {PAGE_LIMIT} bytes"))
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        self._finish()

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(b"".join(self._parts))

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is None:
            return
        if not self._begun:
            self._fail(_Stale())
        elif self._until_end and exc is None:
            self._finish()
        else:
            self._fail(NoPage("bad", "the connection ended amid the page"))

    def close(self) -> None:
        """Close it now."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()
