"""HTTP/1.1 on a connection: llhttp finds the messages, this file bounds them, answers in order and gives up in time.

Rule 1: a request is one task, started when its body is complete; pipelined requests wait in a bounded queue.
Rule 2: an answer to a request that was not read to its end closes the connection, so bytes of one request are never taken
for the next one.
Rule 3: what the framing rules of RFC 9112 forbid or leave to interpretation (two lengths, length with chunks, chunks in
HTTP/1.0, several hosts) is refused; another hop may have read it differently.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

import httptools

from gateway.ingress.exchange import JSON, REASONS, Request, Response
from gateway.ingress.listener import DRAIN_IDLE, NEVER, Listener
from transcoding.dialects.oip_json import encode_error
from transcoding.message import Buffer
from transcoding.status import Code, GatewayError

log = logging.getLogger(__name__)

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
SINGLE_FIELDS = (b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"authorization",
                 b"inference-header-content-length", b"expect")  # fmt: skip
TARGET_BYTES = 8192
BODY_BYTES_PER_SECOND = 16 * 1024
STALL_BYTES = 16 * 1024
JOIN_BYTES = 64 * 1024
HEADS: dict[tuple[int, bytes], bytes] = {
    (status, kind): b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: " % (status, reason, kind)
    for status, reason in REASONS.items()
    for kind in (JSON, b"application/octet-stream")
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Refusal(Exception):
    """A message that is answered with this status and nothing more is read after it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Http1(asyncio.Protocol):
    """One HTTP/1.1 connection. `expires` is when it is too late for whatever it waits for."""

    __slots__ = ("_address", "_body", "_buffered", "_chunked", "_close", "_drained", "_head_bytes", "_headers", "_listener",
                 "_method", "_parser", "_queue", "_reading_body", "_started", "_target", "_task", "_transport", "_unsent",
                 "expires")  # fmt: skip

    def __init__(self, listener: Listener, transport: asyncio.Transport, address: str) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = transport
        self._address = address
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[Request, bool] | Refusal] = deque()
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._unsent = 0
        self._close = False
        self._buffered = 0
        self.expires = NEVER
        self._reset_message()

    def _reset_message(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._method = b""
        self._body: list[bytes] = []
        self._head_bytes = 0
        self._reading_body = False
        self._chunked = False
        self._started = 0.0

    # reading ----------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a message it refuses is answered in its turn, and nothing is read after it."""
        listener = self._listener
        listener.received.value += len(data)
        if self._close and not self._reading_body:
            return  # after "connection: close" nothing is executed
        if not self._reading_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._close = True  # an upgrade is not taken: answer what was asked, then close
        except httptools.HttpParserCallbackError as error:
            refusal = error.__context__
            if not isinstance(refusal, Refusal):
                raise
            self._refuse(refusal)
        except httptools.HttpParserError:
            self._refuse(Refusal(400, "malformed HTTP request"))
        else:
            if not self._reading_body and self._started and self._head_bytes > listener.limits.header_bytes:
                self._refuse(Refusal(431, f"request head larger than {listener.limits.header_bytes} bytes"))

    def on_message_begin(self) -> None:
        """The first byte of a request: its head must be here in time."""
        self._started = self._listener.loop.time()
        self.expires = self._started + self._listener.deadlines.header

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self._target += url
        if len(self._target) > TARGET_BYTES:
            raise Refusal(414, f"request target longer than {TARGET_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field; more of them than allowed end the connection."""
        if self._reading_body:
            raise Refusal(400, "trailer fields are not taken")
        headers = self._headers
        headers.append((name.lower(), value.rstrip(b" \t")))
        if len(value) > self._listener.limits.header_bytes:
            raise Refusal(431, f"request head larger than {self._listener.limits.header_bytes} bytes")
        if len(headers) > self._listener.limits.headers:
            raise Refusal(431, f"more than {self._listener.limits.headers} header fields")

    def on_headers_complete(self) -> None:
        """The head is here: refuse early what will not be answered well, and let the body come."""
        self._method = self._parser.get_method()
        length = self._check_head()
        self._reading_body = True
        self._head_bytes = 0
        self.expires = self._started + self._listener.deadlines.body
        if self._parser.should_upgrade():
            self._close = True
        if length is not None or self._chunked:
            self._expect(length)

    def _check_head(self) -> int | None:
        headers = dict(self._headers)
        if len(headers) != len(self._headers):
            headers = self._join_repeated()
        version = self._parser.get_http_version()
        if self._method not in METHODS:
            raise Refusal(405, "Method Not Allowed")
        host = headers.get(b"host")
        if (host is None and version != "1.0") or (host is not None and (b"," in host or b" " in host or b"@" in host)):
            raise Refusal(400, "host: expected exactly one")
        if not self._target.startswith(b"/"):
            self._target = origin_form(self._target, host)
        encoding = headers.get(b"transfer-encoding")
        length = headers.get(b"content-length")
        if encoding is not None:
            if length is not None or version == "1.0":
                raise Refusal(400, "transfer-encoding: not together with content-length, nor in HTTP/1.0")
            if encoding.lower() != b"chunked":
                raise Refusal(501, "transfer-encoding: expected chunked")
            self._chunked = True
        if length is None:
            return None
        if not length.isdigit() or (len(length) > 1 and length.startswith(b"0")):
            raise Refusal(400, "content-length: expected a decimal number")
        if len(length) > 18 or int(length) > self._listener.limits.body_bytes:
            raise Refusal(413, f"request body larger than {self._listener.limits.body_bytes} bytes")
        return int(length)

    def _join_repeated(self) -> dict[bytes, bytes]:
        joined: dict[bytes, bytes] = {}
        for name, value in self._headers:
            if name in joined:
                if name in SINGLE_FIELDS:
                    raise Refusal(400, f"{name.decode()}: expected at most one")
                value = joined[name] + b", " + value
            joined[name] = value
        return joined

    def _expect(self, length: int | None) -> None:
        expect = next((value for name, value in self._headers if name == b"expect"), None)
        if expect is None:
            return
        if expect.lower() != b"100-continue":
            raise Refusal(417, "expect: only 100-continue is understood")
        if length != 0 and self._transport is not None and self._task is None:
            self._transport.write(CONTINUE)

    def on_body(self, data: bytes) -> None:
        """A piece of the body, counted against every cap before it is kept."""
        listener = self._listener
        size = len(data)
        self._buffered += size
        listener.buffered += size
        if self._buffered > listener.limits.body_bytes and sum(map(len, self._body)) + size > listener.limits.body_bytes:
            raise Refusal(413, f"request body larger than {listener.limits.body_bytes} bytes")
        if listener.buffered > listener.limits.buffered_bytes:
            raise Refusal(503, "too many request bytes are waiting in this worker")
        self._body.append(data)
        self.expires += size / BODY_BYTES_PER_SECOND

    def on_message_complete(self) -> None:
        """A whole request: run it, or let it wait for its turn."""
        headers = dict(self._headers)
        if len(headers) != len(self._headers):
            headers = self._join_repeated()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Request(self._method, self._target, headers, body)
        keep = self._parser.should_keep_alive() and not self._close
        if not keep:
            self._close = True
        self._reset_message()
        self._enqueue((request, keep))
        if len(self._queue) > self._listener.limits.pipelined:
            raise Refusal(503, f"more than {self._listener.limits.pipelined} pipelined requests")

    def _refuse(self, refusal: Refusal) -> None:
        self._close = True
        self._reset_message()
        self._enqueue(refusal)
        if self._transport is not None:
            self._transport.pause_reading()

    def _enqueue(self, item: tuple[Request, bool] | Refusal) -> None:
        self._queue.append(item)
        if self._task is None:
            self.expires = NEVER
            self._task = self._listener.loop.create_task(self._answer_all())

    # answering --------------------------------------------------------------------------------------------------------

    async def _answer_all(self) -> None:
        """Answer what is queued, in order; then wait for more, or close."""
        try:
            while self._queue and self._transport is not None:
                item = self._queue.popleft()
                if isinstance(item, Refusal):
                    self._write(Response(item.status, (encode_error(item.message),)), b"HTTP/1.1", False)
                    break
                await self._answer(*item)
        except asyncio.CancelledError:
            pass  # the client is gone; there is nobody to tell
        except Exception:
            log.exception("answering an HTTP/1.1 request failed")
            self.abort()
        finally:
            self._task = None
            self._after_answers()

    def _after_answers(self) -> None:
        self._listener.buffered -= self._buffered
        self._buffered = 0
        transport = self._transport
        if transport is None:
            return
        if self._close or self._listener.draining:
            self._close = True
            self.expires = self._listener.loop.time() + self._listener.deadlines.write_stall
            transport.close()
        elif self._started:
            self.expires = self._started + self._listener.deadlines.body
        else:
            self.expires = self._listener.loop.time() + self._listener.deadlines.idle

    async def _answer(self, request: Request, keep: bool) -> None:
        listener = self._listener
        listener.requests_in_flight += 1
        try:
            response = await listener.rest.serve(request, listener)
            keep = keep and not self._close_after(response)
            if response.stream is None:
                self._write(response, request.method, keep)
            else:
                await self._write_stream(response, request, keep)
            if self._drained is not None:
                await self._drained
        finally:
            listener.requests_in_flight -= 1

    def _close_after(self, response: Response) -> bool:
        if self._listener.draining or (self._close and not self._queue):
            self._close = True
            return True
        return False

    def _write(self, response: Response, method: bytes, keep: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        body = response.body
        size = len(body[0]) if len(body) == 1 else sum(map(len, body))
        head = HEADS.get((response.status, response.content_type)) or start(response)
        head += b"%d\r\n" % size
        if response.fields or not keep:
            head += fields(response, keep)
        head += b"\r\n"
        self._listener.sent.value += len(head) + size
        if method == b"HEAD":
            transport.write(head)
        elif size <= JOIN_BYTES:
            transport.write(head + body[0] if len(body) == 1 else head + b"".join(body))
        else:
            transport.writelines([head, *body])

    async def _write_stream(self, response: Response, request: Request, keep: bool) -> None:
        transport, stream = self._transport, response.stream
        assert transport is not None
        assert stream is not None
        reason = REASONS.get(response.status, b"")
        head = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\n" % (response.status, reason, response.content_type)
        transport.write(head + b"Transfer-Encoding: chunked\r\n" + fields(response, keep) + b"\r\n")
        try:
            async for piece in stream:
                if self._transport is None:
                    return
                self._listener.sent.value += len(piece)
                transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if self._drained is not None:
                    await self._drained
            transport.write(b"0\r\n\r\n")
        except GatewayError:
            log.debug("a streamed answer broke off")
            self.abort()

    # flow and end -----------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client does not read: stop reading it, and give it only so long."""
        transport = self._transport
        if transport is None:
            return
        self._drained = self._listener.loop.create_future()
        self._unsent = transport.get_write_buffer_size()
        self.expires = self._listener.loop.time() + self._listener.deadlines.write_stall
        transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self._transport is not None and not self._transport.is_closing() and not self._close:
            self._transport.resume_reading()
        self.expires = NEVER

    def expired(self, now: float) -> None:
        """Too late: say so if a request was under way, else just close."""
        transport = self._transport
        if transport is None:
            return
        if self._drained is not None or transport.is_closing():
            unsent = transport.get_write_buffer_size()
            if unsent <= self._unsent - STALL_BYTES:
                self._unsent = unsent
                self.expires = now + self._listener.deadlines.write_stall
            else:
                transport.abort()
        elif self._task is not None:
            self.expires = now + self._listener.deadlines.header  # the answer in flight comes first
        elif self._started:
            what = "body" if self._reading_body else "head"
            self._refuse(Refusal(408, f"the request's {what} did not arrive in time"))
        else:
            transport.close()

    def drain(self) -> None:
        """Close when idle for a while; otherwise the next answer says so and closes."""
        if self._task is None and not self._started:
            idle_since = self.expires - self._listener.deadlines.idle
            self.expires = min(self.expires, idle_since + DRAIN_IDLE)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        """A client that stops sending is taken for gone, as nginx and Envoy do."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is in flight, which cancels it at the worker."""
        self._transport = None
        self._queue.clear()
        if self._drained is not None and not self._drained.done():
            self._drained.cancel()
        if self._task is not None:
            self._task.cancel()
        else:
            self._listener.buffered -= self._buffered
            self._buffered = 0
        self._listener.release(self, self._address)


def origin_form(target: bytes, host: bytes | None) -> bytes:
    """The path of an absolute-form target, whose authority must be the host's (RFC 9112 §3.2.2)."""
    for scheme in (b"http://", b"https://"):
        if target[: len(scheme)].lower() == scheme:
            authority, slash, path = target[len(scheme) :].partition(b"/")
            if authority != host:
                raise Refusal(421, "the request target names another host")
            return slash + path or b"/"
    raise Refusal(400, "request target: expected a path")


def start(response: Response) -> bytes:
    """The head of a response up to the value of its content-length."""
    reason = REASONS.get(response.status, b"")
    kind = b"Content-Type: %s\r\n" % response.content_type if response.content_type else b""
    return b"HTTP/1.1 %d %s\r\n%bContent-Length: " % (response.status, reason, kind)


def fields(response: Response, keep: bool) -> bytes:
    """The other header fields, each with its line end."""
    lines: Sequence[Buffer] = [b"%b: %b\r\n" % field for field in response.fields]
    return b"".join(lines) + (b"" if keep else b"Connection: close\r\n")


def refused(error: GatewayError) -> Response:
    """An error as a response; `Code` decides the status."""
    assert error.code is not Code.OK
    return Response(error.http_status, (encode_error(error.message),))
