"""One unary gRPC call on an HTTP/2 stream: the receiver of its frames and the future of its answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from routing.connectors.outcome import Expired, broken, from_status, not_grpc, status_of
from transcoding.http2.errors import ErrorCode
from transcoding.http2.hpack import HeaderBlock
from transcoding.message import Buffer
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from routing.connectors.grpc_h2 import Connection
    from transcoding.http2.stream import Stream


class UnaryAttempt:
    """Collects one answer; `future` gives the framed message or raises `GatewayError`."""

    __slots__ = ("_address", "_limit", "_parts", "_size", "connection", "future", "stream")

    stream: Stream
    connection: Connection

    def __init__(self, future: asyncio.Future[Buffer], limit: int, address: str) -> None:
        self.future = future
        self._limit = limit
        self._address = address
        self._parts: Buffer | list[Buffer] = b""
        self._size = 0

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        """The response head says nothing we need; trailers end the call."""
        if end_stream:
            self._finish(block)

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        """Keep the bytes, uncopied; the size is bounded by `limit`."""
        size = len(data)
        self.stream.consumed(size)
        if not self._size:
            self._parts = data
        else:
            if not isinstance(self._parts, list):
                self._parts = [self._parts]
            self._parts.append(data)
        self._size += size
        if self._size > self._limit + 5:
            text = f"the answer is larger than {self._limit} bytes"
            self._fail(GatewayError(Code.RESOURCE_EXHAUSTED, text, http_status=502, fault=Fault.MODEL, executed=True))
            self._reset(ErrorCode.CANCEL)
        elif end_stream:
            self._fail(broken(self._address, ErrorCode.PROTOCOL_ERROR, executed=True))

    def stream_reset(self, code: int, remote: bool) -> None:
        """The stream or its connection ended early; never executed if it was refused or never wholly written."""
        stream = self.stream
        unsent = not stream.id or stream.queued > 0 or stream.id > self.connection.flushed_id
        self._fail(broken(self._address, code, executed=not (stream.refused or unsent)))

    def writable(self) -> None:
        """Nothing waits for room: the whole message was handed over at once."""

    def expire(self, granted: float) -> None:
        """The deadline passed, `granted` seconds after the request was sent: cancel the work at the endpoint."""
        self._fail(Expired(granted))
        self._reset(ErrorCode.CANCEL)

    def cancel(self) -> None:
        """The client went away: cancel the work at the endpoint."""
        self._reset(ErrorCode.CANCEL)

    def _finish(self, block: HeaderBlock) -> None:
        if self.future.done():
            return
        status = status_of(block)
        if status is None:
            self.future.set_exception(not_grpc(self._address, block))
        elif status[0]:
            self.future.set_exception(from_status(*status))
        else:
            self._succeed()

    def _succeed(self) -> None:
        parts = self._parts
        framed = b"".join(parts) if isinstance(parts, list) else parts
        if len(framed) < 5 or framed[0] or int.from_bytes(framed[1:5], "big") != len(framed) - 5:
            self.future.set_exception(broken(self._address, ErrorCode.PROTOCOL_ERROR, executed=True))
        else:
            self.future.set_result(framed)

    def _fail(self, error: GatewayError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def _reset(self, code: int) -> None:
        self.stream.reset(code)
        self.connection.schedule_flush()
