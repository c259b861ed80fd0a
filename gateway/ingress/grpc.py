"""gRPC on an HTTP/2 stream: the messages of a call, and its answer; what the methods do is `grpc_service`'s."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from gateway.ingress.aside import inflate_message
from gateway.ingress.grpc_head import Head, head_of
from gateway.ingress.grpc_message import (
    PREFIX_BYTES,
    is_whole,
    not_one,
    too_large,
    too_much_waits,
    unpinned,
)
from gateway.ingress.listener import NEVER
from gateway.ingress.refusal import error_trailers
from transcoding.grpc_framing import MessageReader, encode_message
from transcoding.http2 import hpack
from transcoding.http2.errors import ErrorCode
from transcoding.http2.flow import HIGH_WATER
from transcoding.http2.hpack import HeaderBlock
from transcoding.http2.stream import Stream
from transcoding.message import Buffer
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.http2 import Http2

log = logging.getLogger(__name__)

REPLY_HEAD = hpack.encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
OK_TRAILERS = hpack.encode([(b"grpc-status", b"0")])
ACCEPTED_ENCODINGS = hpack.encode([(b"grpc-accept-encoding", b"identity,deflate,gzip")])


class Session(Protocol):
    """A streaming method at work; `gateway.ingress.grpc_stream` and `gateway.ingress.watch` have them."""

    @property
    def full(self) -> bool:
        """The client must wait: it is credited when the session calls `GrpcStream.credit`."""

    def message_received(self, message: Buffer, compressed: bool) -> None:
        """The client sent a message. Raises `GatewayError` to end the call."""

    def half_closed(self) -> None:
        """The client will send no more. Raises `GatewayError` to end the call."""

    def client_writable(self) -> None:
        """The client reads again."""

    def client_gone(self, code: int = Code.CANCELLED) -> None:
        """The call is over, with this status; nothing can be sent any more."""


class GrpcStream:
    """One gRPC call of the client `peer`. `told` is what its answer says of where it comes from, as a header block:
    that of a unary call in front of its message, that of a stream at the end."""

    __slots__ = ("_answering", "_compressed", "_connection", "_deadline", "_fresh", "_held", "_message",
                 "_partial", "_reader", "_session", "_size", "_stream", "_task", "ended", "expires", "head",
                 "listener", "peer", "told")  # fmt: skip

    def __init__(self, connection: Http2, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self.peer = connection.peer
        self.told = b""
        self.head: Head | None = None
        self._deadline: float | None = None
        self._reader: MessageReader | None = None
        self._message: Buffer | None = None  # with its prefix, unless it is compressed
        self._compressed = False
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._size = 0  # bytes of the request that are counted in `listener.buffered`
        self._partial = 0  # of these, bytes of a message for a session that is not complete
        self._held = 0  # bytes that the client was not credited yet
        self._fresh = 0
        self.ended = self._answering = False
        self.listener = listener = connection.listener
        self.expires = listener.loop.time() + listener.deadlines.body

    # from the client --------------------------------------------------------------------------------------------------

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        """The head of the call; a later one is trailers, which only end it."""
        if self.head is None:
            head = self.head = head_of(block, self.listener.underscores)
            if head.error is not None:
                self.fail(head.error, ACCEPTED_ENCODINGS)
                return
            method = head.method
            if method is None or (method.service.startswith("inference") and method.api not in self.listener.apis):
                self.fail(GatewayError(Code.UNIMPLEMENTED, "no such method here"))
                return
            if head.timeout is not None:
                self._deadline = self.listener.loop.time() + head.timeout
            if method.kind in ("stream", "reflection") or method.name == "Watch":
                self.expires = NEVER
                self._session = self.listener.grpc.open_session(method, head, self)
        if end_stream and not self.ended:
            self._end_of_request()

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        """Bytes of messages. A whole unary message in one frame is taken as it is."""
        if self.ended:
            self._stream.consumed(len(data))
            return
        try:
            if self._session is not None:
                self._feed_session(self._session, data)
            else:
                self._feed_unary(data, end_stream)
        except GatewayError as error:
            self._refuse(error)
            return
        if end_stream and not self.ended:
            self._end_of_request()

    def _feed_unary(self, data: Buffer, end_stream: bool) -> None:
        size = len(data)
        self._stream.consumed(size)
        if end_stream and self._reader is None and is_whole(data, size):
            if size - PREFIX_BYTES > self.listener.limits.body_bytes:
                raise too_large(self.listener.limits.body_bytes)
            self._hold(size)
            self._message = unpinned(data)
            return
        if self._reader is None:
            self._reader = MessageReader(self.listener.limits.body_bytes)
        self._hold(size)
        self._progress(size)
        for flags, message in self._reader.feed(data):
            if self._message is not None:
                raise not_one("several")
            self._compressed = flags != 0
            self._message = message if flags else encode_message((message,))

    def _progress(self, size: int) -> None:
        """The client sends fast enough to be given more time."""
        self._fresh += size
        if self._fresh >= self.listener.body_quantum:
            self._fresh = 0
            self.expires = self.listener.loop.time() + self.listener.deadlines.body

    def _hold(self, size: int) -> None:
        self._size += size
        if not self._connection.hold(size):
            raise too_much_waits()

    def _feed_session(self, session: Session, data: Buffer) -> None:
        """Give the session what is complete. A message that is still arriving is counted here, those that wait in the
        session are counted there."""
        if self._reader is None:
            self._reader = MessageReader(self.listener.limits.body_bytes)
        size = len(data)
        self._held += size
        self._partial += size
        self._hold(size)
        for flags, message in self._reader.feed(data):
            whole = PREFIX_BYTES + len(message)
            self._partial -= whole
            self._hold(-whole)
            session.message_received(message, flags != 0)
            if self.ended:
                return
        if not session.full:
            self.credit()
        self._await_rest(session, size)

    def _await_rest(self, session: Session, size: int) -> None:
        """A message that has begun must be complete in time, as long as the client may send it; `size` bytes came."""
        if not self._partial or session.full:
            self.expires = NEVER
        elif self.expires == NEVER:
            self._fresh = 0
            self.expires = self.listener.loop.time() + self.listener.deadlines.body
        else:
            self._progress(size)
        self._connection.expect(self._stream.id, self)

    def credit(self) -> None:
        """The session took what it was given: let the client send more."""
        if self._held and not self.ended:
            held, self._held = self._held, 0
            self._stream.consumed(held)
            self._connection.schedule_flush()
            if self._partial and self._session is not None:
                self._await_rest(self._session, 0)

    def _end_of_request(self) -> None:
        self.expires = NEVER
        self._connection.expect(self._stream.id, self)
        try:
            if self._reader is not None:
                self._reader.finish()
            if self._session is not None:
                self._session.half_closed()
                return
            if self._message is None:
                raise not_one("none")
        except GatewayError as error:
            self._refuse(error)
            return
        assert self.head is not None
        self._task = self.listener.loop.create_task(self._unary(self.head, self._message))

    def _refuse(self, error: GatewayError) -> None:
        """What the client sent cannot be taken: the call ends, and so does a session."""
        self.fail(error)
        if self._session is not None:
            self._session.client_gone(error.code)

    # unary ------------------------------------------------------------------------------------------------------------

    async def _unary(self, head: Head, message: Buffer) -> None:
        listener = self.listener
        listener.requests_in_flight += 1
        try:
            if self._compressed:
                plain = await inflate_message(message, head, listener.limits.inflated_bytes)
                self._hold(len(plain))
                message = encode_message((plain,))
            framed = await listener.grpc.unary(head, message, self, self._deadline)
            self._stream.send_all(REPLY_HEAD + self.told, framed, OK_TRAILERS)
            self._connection.schedule_flush()
            self._done()
        except GatewayError as error:
            self.fail(error)
        except asyncio.CancelledError:
            self._done()
        except Exception:
            log.exception("answering a gRPC call failed")
            self.fail(GatewayError(Code.INTERNAL, "internal error", fault=Fault.GATEWAY))
        finally:
            listener.requests_in_flight -= 1

    # to the client ----------------------------------------------------------------------------------------------------

    def send_head(self) -> None:
        """Start a streaming answer."""
        if not self.ended:
            self._answering = True
            self._stream.send_headers(REPLY_HEAD)

    def tell(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Have the answer say this too."""
        self.told += hpack.encode(fields)

    def send(self, message: Buffer) -> None:
        """One message of a streaming answer."""
        if not self.ended:
            self._stream.send_data(encode_message((message,)))
            self._connection.watch(self._stream)
            self._connection.schedule_flush()

    @property
    def queued(self) -> int:
        """Bytes that wait for the client's window."""
        return self._stream.queued

    @property
    def congested(self) -> bool:
        """The client does not take what it is sent; the session hears `client_writable` when it does again."""
        return self._stream.queued > HIGH_WATER or self._connection.congested

    def finish(self) -> None:
        """End a streaming answer with success."""
        if not self.ended:
            self._stream.send_headers(OK_TRAILERS + self.told, True)
            self._done()

    def fail(self, error: GatewayError, fields: bytes = b"") -> None:
        """End the call with an error; what the client still sends is not wanted. `fields` is a header block to add when
        the error is the whole answer."""
        if self.ended:
            return
        trailers = error_trailers(error) + self.told
        self._stream.send_headers(trailers if self._answering else REPLY_HEAD + fields + trailers, True)
        if self._stream.remote_open and not self._stream.queued:  # a reset would drop what is queued, trailers too
            self._stream.reset(ErrorCode.NO_ERROR)
        self._done()

    def _done(self) -> None:
        if not self.ended:
            self.ended = True
            self.expires = NEVER
            self._connection.hold(-self._size)
            self._connection.stream_done(self._stream)
            self._connection.schedule_flush()

    def too_slow(self) -> None:
        """The request did not arrive in time."""
        self._refuse(GatewayError(Code.DEADLINE_EXCEEDED, "the request did not arrive in time", http_status=408))

    def writable(self) -> None:
        """There is room to send again."""
        if self._session is not None and not self.ended and not self.congested:
            self._session.client_writable()

    def stream_reset(self, code: int, remote: bool) -> None:
        """The client cancelled, or its connection is gone: so is the work at the worker."""
        if self._task is not None:
            self._task.cancel()
        self._done()
        if self._session is not None:
            self._session.client_gone()
