"""What a client connection of the own generator is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast


class LoadError(RuntimeError):
    """A request failed, or its answer differs from the one that was checked."""


@dataclass
class Reply:
    """An answer as it came: HTTP status, headers in lower case (trailers among them), body."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


class Client(asyncio.Protocol):
    """One connection that carries one request at a time. A subclass parses replies and calls `_finish`."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way."""
        self._transport = None
        self._fail(LoadError(f"the connection ended during a request: {exc or 'closed by the peer'}"))

    def ask(self) -> asyncio.Future[Reply]:
        """Send the request; the future gives its reply or a LoadError. Raises LoadError when the connection is gone."""
        if self._transport is None or self._transport.is_closing():
            raise LoadError("the peer closed the connection between requests")
        self._waiting = self._loop.create_future()
        self._transport.write(self._next_request())
        return self._waiting

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _next_request(self) -> bytes:
        raise NotImplementedError

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _finish(self, reply: Reply) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
