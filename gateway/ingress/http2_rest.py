"""REST over an HTTP/2 stream: collects the request, writes the response under flow control."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.ingress.exchange import Request, Response
from gateway.ingress.listener import NEVER
from transcoding.dialects.oip_json import encode_error
from transcoding.http2 import hpack
from transcoding.http2.errors import ErrorCode
from transcoding.http2.hpack import HeaderBlock
from transcoding.http2.stream import Stream
from transcoding.message import Buffer
from transcoding.status import GatewayError, invalid

if TYPE_CHECKING:
    from gateway.ingress.http2 import Http2

log = logging.getLogger(__name__)

BODY_BYTES_PER_SECOND = 16 * 1024
SINGLE_FIELDS = frozenset(
    {b"content-length", b"content-type", b"content-encoding", b"authorization", b"inference-header-content-length"}
)


class RestStream:
    """One REST request on one stream."""

    __slots__ = ("_body", "_connection", "_request", "_room", "_size", "_stream", "_task", "expires")

    def __init__(self, connection: Http2, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self._body: list[Buffer] = []
        self._size = 0
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        listener = connection.listener
        self.expires = listener.loop.time() + listener.deadlines.body

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        """The head of the request; trailers are ignored but end it."""
        if self._request is None:
            if block.too_large:
                self._refuse(431, "request head too large")
                return
            try:
                self._request = request_of(block)
            except GatewayError as error:
                self._refuse(error.http_status, error.message)
                return
        if end_stream:
            self._start()

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        """A piece of the body, bounded before it is kept."""
        listener = self._connection.listener
        size = len(data)
        self._stream.consumed(size)
        if self._task is not None:
            return
        self._size += size
        listener.buffered += size
        if self._size > listener.limits.body_bytes:
            self._refuse(413, f"request body larger than {listener.limits.body_bytes} bytes")
        elif listener.buffered > listener.limits.buffered_bytes:
            self._refuse(503, "too many request bytes are waiting in this worker")
        else:
            self._body.append(data)
            self.expires += size / BODY_BYTES_PER_SECOND
            if end_stream:
                self._start()

    def _start(self) -> None:
        self.expires = NEVER
        self._connection.unfinished.pop(self._stream.id, None)
        if self._request is not None and self._task is None:
            self._request.body = b"".join(self._body)
            self._body.clear()
            self._task = self._connection.listener.loop.create_task(self._answer(self._request))

    async def _answer(self, request: Request) -> None:
        listener = self._connection.listener
        listener.requests_in_flight += 1
        try:
            response = await listener.rest.serve(request, listener)
            if response.stream is None:
                self._write(response, request.method)
            else:
                await self._write_stream(response)
        except asyncio.CancelledError:
            pass  # the client is gone
        except Exception:
            log.exception("answering an HTTP/2 request failed")
            self._stream.reset(ErrorCode.INTERNAL_ERROR)
        finally:
            listener.requests_in_flight -= 1
            self._finish()

    def _write(self, response: Response, method: bytes) -> None:
        size = sum(map(len, response.body))
        head = response_head(response, size)
        stream = self._stream
        if method == b"HEAD" or not size:
            stream.send_headers(head, True)
        elif len(response.body) == 1:
            stream.send_all(head, response.body[0], None)
        else:
            stream.send_headers(head, False)
            last = len(response.body) - 1
            for index, part in enumerate(response.body):
                stream.send_data(part, index == last)
        self._connection.schedule_flush()

    async def _write_stream(self, response: Response) -> None:
        stream, pieces = self._stream, response.stream
        assert pieces is not None
        stream.send_headers(response_head(response, None), False)
        self._connection.schedule_flush()
        try:
            async for piece in pieces:
                stream.send_data(piece)
                self._connection.schedule_flush()
                await self._connection.drained()
                if stream.queued:
                    self._room = self._connection.listener.loop.create_future()
                    await self._room
            stream.send_data(b"", True)
        except GatewayError:
            log.debug("a streamed answer broke off")
            stream.reset(ErrorCode.INTERNAL_ERROR)

    def _refuse(self, status: int, message: str) -> None:
        self._task = None
        self._request = None
        self._body.clear()
        response = Response(status, (encode_error(message),))
        self._stream.send_all(response_head(response, len(response.body[0])), response.body[0], None)
        self._stream.reset(ErrorCode.NO_ERROR)  # RFC 9113 §8.1: the rest of the request is not wanted
        self._finish()

    def too_slow(self) -> None:
        """The body did not arrive in time."""
        self._refuse(408, "the request's body did not arrive in time")

    def _finish(self) -> None:
        listener = self._connection.listener
        self.expires = NEVER
        listener.buffered -= self._size
        self._size = 0
        self._connection.stream_done(self._stream.id)
        self._connection.schedule_flush()

    def writable(self) -> None:
        """There is room to send again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def stream_reset(self, code: int, remote: bool) -> None:
        """The client gave up, or its connection is gone."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._finish()


def request_of(block: HeaderBlock) -> Request:
    """The request of a header block; the result for the fields is kept with the block, which repeats."""
    memo = block.memo
    if not isinstance(memo, Request):
        method, target, headers = b"", b"", {}
        for name, value in block.fields:
            if name == b":method":
                method = value
            elif name == b":path":
                target = value
            elif name == b":authority":
                headers.setdefault(b"host", value)
            elif not name.startswith(b":"):
                if name in headers and name in SINGLE_FIELDS:
                    raise invalid(f"{name.decode('latin-1')}: expected at most one")
                headers[name] = headers[name] + b", " + value if name in headers else value
        memo = block.memo = Request(method, target, headers, b"")
    return Request(memo.method, memo.target, memo.headers, b"")


def response_head(response: Response, size: int | None) -> bytes:
    """The encoded header block of a response."""
    head = [(b":status", b"%d" % response.status)]
    if response.content_type:
        head.append((b"content-type", response.content_type))
    if size is not None:
        head.append((b"content-length", b"%d" % size))
    head.extend((name.lower(), value) for name, value in response.fields)
    return hpack.encode(head)
