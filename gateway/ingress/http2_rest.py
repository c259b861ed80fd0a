"""REST over an HTTP/2 stream: collects the request, writes the response under flow control."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.ingress.exchange import TARGET_BYTES, Body, Request, Response
from gateway.ingress.http1_head import DROP, METHODS, SINGLE_FIELDS, joined, without_underscores
from gateway.ingress.listener import NEVER
from transcoding.dialects.oip_json import encode_error
from transcoding.http2 import hpack
from transcoding.http2.errors import ErrorCode
from transcoding.http2.flow import HIGH_WATER
from transcoding.http2.hpack import HeaderBlock
from transcoding.http2.stream import Stream
from transcoding.message import Buffer
from transcoding.status import Code, GatewayError, invalid

if TYPE_CHECKING:
    from gateway.ingress.http2 import Http2

log = logging.getLogger(__name__)

CONTINUE_HEAD = hpack.encode([(b":status", b"100")])


class RestStream:
    """One REST request on one stream."""

    __slots__ = ("_body", "_connection", "_fresh", "_held", "_request", "_room", "_stream", "_task", "expires")

    def __init__(self, connection: Http2, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self._body = Body()
        self._held = 0
        self._fresh = 0
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        listener = connection.listener
        self.expires = listener.loop.time() + listener.deadlines.body

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        """The head of the request; trailers are ignored but end it."""
        if self._request is None:
            try:
                self._request = request_of(block, self._connection.listener.underscores)
                self._check_length(block.content_length)
            except GatewayError as error:
                self._refuse(error.http_status, error.message)
                return
            if b"expect" in self._request.headers and not end_stream:
                self._stream.send_headers(CONTINUE_HEAD)
        if end_stream:
            self._start(self._request)

    def _check_length(self, length: int) -> None:
        limit = self._connection.listener.limits.body_bytes
        if length > limit:
            raise too_large(limit)

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        """A piece of the body, bounded before it is kept."""
        connection, request = self._connection, self._request
        size = len(data)
        self._stream.consumed(size)
        if request is None or self._task is not None:
            return
        self._held += size
        if not connection.hold(size):
            self._refuse(503, "too many request bytes are waiting in this worker")
            return
        limit = connection.listener.limits.body_bytes
        if self._held > limit:
            error = too_large(limit)
            self._refuse(error.http_status, error.message)
            return
        self._body.add(data)
        if end_stream:
            self._start(request)
            return
        self._fresh += size
        if self._fresh >= connection.listener.body_quantum:
            self._fresh = 0
            self.expires = connection.listener.loop.time() + connection.listener.deadlines.body

    def _start(self, request: Request) -> None:
        if self._task is None:
            self.expires = NEVER
            self._connection.unfinished.pop(self._stream.id, None)
            request.body = self._body.take()
            self._task = self._connection.listener.loop.create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        listener = self._connection.listener
        listener.requests_in_flight += 1
        try:
            response = await listener.rest.serve(request, listener, self._connection.peer)
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
        connection, stream, pieces = self._connection, self._stream, response.stream
        assert pieces is not None
        stream.send_headers(response_head(response, None), False)
        connection.schedule_flush()
        try:
            async for piece in pieces:
                stream.send_data(piece)
                connection.schedule_flush()
                connection.watch(stream)
                await connection.drained()
                if stream.queued > HIGH_WATER:
                    self._room = connection.listener.loop.create_future()
                    await self._room
            stream.send_data(b"", True)
        except GatewayError:
            log.debug("a streamed answer broke off")
            stream.reset(ErrorCode.INTERNAL_ERROR)
        finally:
            await pieces.aclose()

    def _refuse(self, status: int, message: str) -> None:
        self._request = None
        self._body = Body()
        response = Response(status, (encode_error(message),))
        self._stream.send_all(response_head(response, len(response.body[0])), response.body[0], None)
        if self._stream.remote_open:
            self._stream.reset(ErrorCode.NO_ERROR)  # RFC 9113 §8.1: the rest of the request is not wanted
        self._finish()

    def too_slow(self) -> None:
        """The body did not arrive in time."""
        self._refuse(408, "the request's body did not arrive in time")

    def _finish(self) -> None:
        """Nothing more is to be done for the request. Called once or more."""
        self.expires = NEVER
        held, self._held = self._held, 0
        self._connection.hold(-held)
        self._connection.stream_done(self._stream)
        self._connection.schedule_flush()

    def writable(self) -> None:
        """There is room to send again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def stream_reset(self, code: int, remote: bool) -> None:
        """The client gave up, or is gone. A task that has not run yet never will, so nothing is left to it."""
        if self._task is not None:
            self._task.cancel()
        self._finish()


def request_of(block: HeaderBlock, underscores: str = DROP) -> Request:
    """The request of a header block; the result for the fields is kept with the block, which repeats.

    Raises GatewayError, whose HTTP status is to be answered.
    """
    memo = block.memo
    if not isinstance(memo, Request):
        memo = block.memo = checked(block, underscores)
    request = Request(memo.method, memo.target, memo.headers, b"")
    request.repeated = memo.repeated
    return request


def checked(block: HeaderBlock, underscores: str = DROP) -> Request:
    """The request of a header block without its body. Raises GatewayError."""
    if block.too_large:
        raise GatewayError(Code.RESOURCE_EXHAUSTED, "request head too large", http_status=431)
    method, target, authority = b"", b"", None
    headers: dict[bytes, bytes] = {}
    repeated: tuple[bytes, ...] = ()
    for name, value in without_underscores(block.fields, underscores):
        if name == b":method":
            method = value
        elif name == b":path":
            target = value
        elif name == b":authority":
            authority = value
        elif not name.startswith(b":"):
            if name in headers and name in SINGLE_FIELDS:
                raise invalid(f"{name.decode('latin-1')}: expected at most one")
            if name in headers:
                repeated = (*repeated, name)
            headers[name] = joined(headers[name], name, value) if name in headers else value
    if authority is not None and headers.setdefault(b"host", authority).lower() != authority.lower():
        raise invalid("host: expected the same as :authority")  # RFC 9113 §8.3.1
    if method not in METHODS:
        raise GatewayError(Code.UNIMPLEMENTED, "Method Not Allowed", http_status=405)
    if len(target) > TARGET_BYTES:
        raise GatewayError(Code.INVALID_ARGUMENT, f"request target longer than {TARGET_BYTES} bytes", http_status=414)
    if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise GatewayError(Code.INVALID_ARGUMENT, "expect: only 100-continue is understood", http_status=417)
    request = Request(method, target, headers, b"")
    request.repeated = repeated
    return request


def too_large(limit: int) -> GatewayError:
    """The answer to a body above the limit, in bytes."""
    return GatewayError(Code.RESOURCE_EXHAUSTED, f"request body larger than {limit} bytes", http_status=413)


def response_head(response: Response, size: int | None) -> bytes:
    """The encoded header block of a response."""
    head = [(b":status", b"%d" % response.status)]
    if response.content_type:
        head.append((b"content-type", response.content_type))
    if size is not None:
        head.append((b"content-length", b"%d" % size))
    head.extend((name.lower(), value) for name, value in response.fields)
    return hpack.encode(head) + response.told.block
