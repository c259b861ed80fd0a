"""Asks a Triton whether it is live, again and again, on a connection that is kept.

A hundred endpoints are asked once a second each, so this is one gRPC call on our own HTTP/2: a fifth of what grpc.aio
takes for it. The connection also tells more than the answer: where it had to be made anew, another process may answer
now.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio import Future, Transport
from typing import cast

from routing.connectors.grpc_h2 import request_head
from transcoding.grpc_framing import parse_status
from transcoding.http2.client import ClientConnection
from transcoding.http2.headers import HeaderBlock
from transcoding.http2.limits import Http2Limits
from transcoding.http2.stream import Stream
from transcoding.message import Buffer
from transcoding.status import Code

PATH = b"/inference.GRPCInferenceService/ServerLive"
QUESTION = bytes(5)
"""A framed `ServerLiveRequest`, which has no fields."""
YES = b"\x08\x01"
"""A `ServerLiveResponse` whose field 1, `live`, is true."""
EXITING = "Server exiting"
"""What Triton says from SIGTERM on (src/grpc/grpc_server.cc)."""
MOST_BYTES = 1024
LAZY = 2.0
"""Seconds that an acknowledgement may wait for the next question: a gRPC server sends a PING with each answer, and to
acknowledge each at once would be as many writes again."""
LIMITS = Http2Limits(stream_window=65_535)


class NotLive(Exception):
    """Why not. `told`: the server said so itself."""

    def __init__(self, text: str, told: bool = False) -> None:
        super().__init__(text)
        self.told = told


class _Stale(Exception):
    """The connection ended before an answer came."""


class Probe:
    """Asks the server at `address` (host:port)."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self._head = request_head(PATH, address)
        self._connection: _Connection | None = None

    async def ask(self, timeout: float) -> bool:
        """Return when the server said that it is live; True if on another connection than the last time. Raises
        `NotLive`, also when that takes longer than `timeout` seconds."""
        kept = self._connection
        try:
            async with asyncio.timeout(timeout):
                if kept is not None and kept.open:
                    with contextlib.suppress(_Stale):
                        await kept.ask(self._head)
                        return False
                self.close()
                self._connection = await self._connect()
                await self._connection.ask(self._head)
                return True
        except TimeoutError:
            self.close()
            raise NotLive(f"no answer within {timeout:g} s") from None
        except _Stale:
            self.close()
            raise NotLive("UNAVAILABLE: the connection ended") from None
        except OSError as error:
            raise NotLive(f"UNAVAILABLE: {_words(error)}") from None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection

    def close(self) -> None:
        """Close the connection, if any. The next question opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection, with one question at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._h2 = ClientConnection(LIMITS, self._loop.time)
        self._transport: Transport | None = None
        self._later: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """May another question be asked on it?"""
        return self._transport is not None and not self._h2.closed and not self._h2.goaway_received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._h2.start()
        self._flush()

    async def ask(self, head: bytes) -> None:
        """Return when the server says that it is live. Raises `NotLive` if it says otherwise, and `_Stale`."""
        answer = _Answer(self._loop.create_future())
        stream = self._h2.try_open(answer)
        if stream is None:
            raise _Stale
        answer.stream = stream
        try:
            stream.send_all(head, QUESTION, None)
            self._flush()
            await answer.done
        except asyncio.CancelledError:
            self.close()
            raise

    def data_received(self, data: bytes) -> None:
        self._h2.receive(data)
        if self._h2.closed:
            self._flush()
            self.close()
        elif self._h2.outgoing and self._later is None:
            self._later = self._loop.call_later(LAZY, self._flush)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._h2.connection_lost()
        self._flush()

    def _flush(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._h2.outgoing and self._transport is not None:
            self._transport.write(b"".join(self._h2.outgoing))
            self._h2.outgoing.clear()

    def close(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.abort()


def _words(error: OSError) -> str:
    """Event loops have words of their own for a failed connect; a name that is not known has a negative number."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)


class _Answer:
    """What comes on the stream of one question. `done` raises `NotLive` or `_Stale`."""

    stream: Stream

    def __init__(self, done: Future[None]) -> None:
        self.done = done
        self._body = b""

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        if end_stream:
            self._end(failure(parse_status(block.fields), self._body))

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        self._body += bytes(data)
        self.stream.consumed(len(data))
        if len(self._body) > MOST_BYTES:
            self._end(NotLive("the answer is too long"))
        elif end_stream:
            self._end(NotLive("the answer has no status; is it a gRPC port?"))

    def stream_reset(self, code: int, remote: bool) -> None:
        self._end(NotLive(f"UNAVAILABLE: the stream was reset with code {code}") if remote else _Stale())

    def writable(self) -> None: ...

    def _end(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


def failure(status: tuple[int, str] | None, body: bytes) -> NotLive | None:
    """What a whole answer says: None for live. Another error than `EXITING` may come from what is in between."""
    if status is None:
        return NotLive("the answer has no status; is it a gRPC port?")
    code, message = status
    if code:
        name = Code(code).name if code in Code._value2member_map_ else str(code)
        return NotLive(f"{name}: {message}", told=message == EXITING)
    return None if YES in body[5:] else NotLive("the server says that it is not live", told=True)
