"""Reading HTTP/1.1: llhttp finds the messages, this file bounds them. `gateway.ingress.http1` answers them.

After a message that was refused nothing more is parsed, so bytes of one request are never taken for the next one. Every
byte of a body is counted for its listener from its arrival to the end of its answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from gateway.ingress.exchange import TARGET_BYTES, Body
from gateway.ingress.http1_head import (
    ALLOW,
    CHUNKED,
    REJECT,
    UNDERSCORE,
    Message,
    Refusal,
    check_head,
    head_bytes,
    head_too_large,
    join,
    plain_head,
    target_too_long,
    too_large,
)
from gateway.ingress.http1_known import Known
from gateway.ingress.http1_large import LARGE, LargeBody
from gateway.ingress.http1_response import CONTINUE
from gateway.ingress.listener import Listener
from gateway.ingress.peer import Peer

PIECE_BYTES = 4096
NOTHING = memoryview(b"")


class Ignored(Exception):
    """A request after the last one that this connection takes."""


class Http1Reader:
    """The reading half of a connection. Whole requests, and refusals, go to `enqueue` in the order they came."""

    __slots__ = ("_begun", "_body", "_buffered", "_count", "_fields", "_fresh", "_headers", "_held",
                 "_known", "_large", "_last", "_listener", "_message", "_parser", "_peer", "_queue", "_raw", "_target",
                 "_task", "_transport", "_twice", "_upgrading", "expires")  # fmt: skip

    def __init__(self, listener: Listener, transport: asyncio.Transport, peer: Peer) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = transport
        self._peer = peer
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Message | Refusal] = deque()
        self._task: asyncio.Task[None] | None = None  # answers what is in the queue
        self._held = NOTHING  # what was read and not parsed, since enough requests wait
        self._last = False  # the last request of the connection was parsed, or refused
        self._upgrading = False
        self._buffered = 0
        self._count = 0
        self._raw = 0
        self._body = Body()
        self._known: Known | None = None
        self._large: LargeBody | None = None
        self.expires = listener.loop.time() + listener.deadlines.header
        self._reset_message()

    def _reset_message(self) -> None:
        self._begun = False
        self._message: Message | None = None  # whose body is arriving
        self._headers: dict[bytes, bytes] = {}
        self._twice: tuple[bytes, ...] = ()
        self._fields = 0
        self._target = b""
        self._fresh = 0

    def enqueue(self, item: Message | Refusal) -> None:
        """A request, or the answer to one that was refused, waits for its turn."""
        raise NotImplementedError

    # bytes ------------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as there is room for requests."""
        self._listener.received.value += len(data)
        known = self._known
        if known is not None and not self._begun and data.startswith(known.head) and self._repeated(known, data):
            return
        if self._held or len(data) > PIECE_BYTES or len(self._queue) >= self._listener.limits.pipelined:
            self._feed_pieces(memoryview(data))
        else:
            fresh, count = not self._begun, self._count
            rest = self._feed(data)
            if rest:
                self._feed_pieces(rest)
            elif fresh and self._queue and self._count == count + 1 and not self._begun and not self._last:
                self._learn(data, self._queue[-1])

    def _learn(self, data: bytes, item: Message | Refusal) -> None:
        """`data` was exactly one request: know its head when it comes again."""
        if isinstance(item, Message):
            self._known = self._listener.known_heads.learn(data[: len(data) - (item.length or 0)], item)

    def _repeated(self, known: Known, data: bytes) -> bool:
        """Take a request whose head is known without parsing it, if all of it is here, or if the rest is large."""
        if self._held or self._last or len(self._queue) >= self._listener.limits.pipelined:
            return False
        missing = known.length - (len(data) - known.size)
        if missing < 0 or 0 < missing < LARGE:
            return False
        message = known.message()
        self._begun, self._message = True, message
        if missing:
            if self._task is None:
                self.expires = self._listener.loop.time() + self._listener.deadlines.body
            self._receive_large(memoryview(data)[known.size :])
        elif self.body_grew(known.length):
            message.body = data[known.size :]
            self._complete(message)
        return True

    def _feed_pieces(self, data: memoryview) -> None:
        """Parse request by request, so that one read brings no more of them than may wait."""
        while data and not self._last and self._transport is not None:
            if self._held or len(self._queue) >= self._listener.limits.pipelined:
                self._hold(data)
                return
            size = self._piece(data)
            piece = data[:size]
            fresh = self._message is None
            size = len(piece) - len(self._feed(piece))
            data = data[size:]
            message = self._message
            if fresh and message is not None and missing_of(message, len(data)) >= LARGE and not self._upgrading:
                message.keep = self._parser.should_keep_alive()
                self._receive_large(data)
                return

    def _piece(self, data: memoryview) -> int:
        """How much to parse at once: not beyond the end of a head, or of a body."""
        message = self._message
        if message is None:
            start = bytes(data[:PIECE_BYTES])
            end = start.find(b"\r\n\r\n")
            return len(start) if end < 0 else end + 4
        if message.length is None or message.length == CHUNKED:
            return PIECE_BYTES
        return max(1, message.length - message.size)

    def _hold(self, data: memoryview) -> None:
        """Keep for later, and read no more until then."""
        self._held = memoryview(bytes(self._held) + data) if self._held else data
        self._count_bytes(len(data))
        if self._transport is not None:
            self._transport.pause_reading()
        if self._listener.buffered > self._listener.limits.buffered_bytes:
            self._refuse(too_busy())

    def _feed_held(self) -> None:
        """Parse what was held, and read on when all of it is parsed."""
        held, self._held = self._held, NOTHING
        self._count_bytes(-len(held))
        self._feed_pieces(held)
        if not self._held and self._transport is not None:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read."""
        raise NotImplementedError

    def resume_writing(self) -> None:
        """The client reads again."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        raise NotImplementedError

    def _count_bytes(self, size: int) -> None:
        self._buffered += size
        self._listener.buffered += size

    def _feed(self, data: bytes | memoryview) -> memoryview:
        """Feed the parser; a message that it refuses is answered in its turn. Returns what is left to another."""
        if self._last:
            return NOTHING
        self._raw += len(data)
        rest, upgraded = NOTHING, False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest, upgraded = memoryview(data)[upgrade.args[0] :], True
        except httptools.HttpParserCallbackError as error:
            self._stopped(error.__context__)
        except httptools.HttpParserError as malformed:
            if not self._last:
                self._refuse(Refusal(400, f"malformed HTTP request: {malformed}"))
        else:
            if self._begun:
                self._check_overhead()
        if upgraded:  # not while the exception is handled: it would become the context of the next one
            self._ignore_upgrade()
        return rest

    def _stopped(self, cause: BaseException | None) -> None:
        """A callback raised: a refusal, or a request that is one too many."""
        if isinstance(cause, Refusal):
            self._refuse(cause)
        elif not isinstance(cause, Ignored):
            raise cause or RuntimeError("a callback of the parser failed")

    def _check_overhead(self) -> None:
        """What came and is no body: a head without an end, chunk extensions, trailers, chunks of hardly any bytes."""
        limit, message = self._listener.limits.header_bytes, self._message
        if message is None:
            if self._raw > limit:
                self._refuse(head_too_large(limit))
        elif message.length == CHUNKED and self._raw > limit + 2 * message.size:
            self._refuse(Refusal(400, "the chunks of the request's body are more framing than data"))

    def _ignore_upgrade(self) -> None:
        """Go on with a new parser as if nothing had been asked: the first one takes the rest for other than HTTP."""
        message, self._upgrading = self._message, False
        assert message is not None
        self._reset_message()
        self._parser = httptools.HttpRequestParser(self)
        self._feed(plain_head(message))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with an error once it is this message's turn, and parse nothing more."""
        refusal.method = self._message.method if self._message else self._parser.get_method() if self._begun else b""
        if self._large is not None and self._transport is not None:
            self._large = None
            self._transport.set_protocol(cast(asyncio.Protocol, self))
        self._last = True
        self._count_bytes(-len(self._held))
        self._held = NOTHING
        if self._message is not None:
            self._count_bytes(-self._message.size)
        self._body = Body()
        self._reset_message()
        self.enqueue(refusal)

    # callbacks of the parser ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request: its head must be here in time."""
        if self._last:
            raise Ignored
        self._begun = True
        self._raw = 0
        if self._task is None:
            self.expires = self._listener.loop.time() + self._listener.deadlines.header

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self._target += url
        if len(self._target) > TARGET_BYTES:
            raise target_too_long()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head; trailers are dropped (RFC 9110 §6.5.1)."""
        self._fields += 1
        if self._fields > self._listener.limits.headers:
            raise Refusal(431, f"more than {self._listener.limits.headers} header fields")
        if self._message is not None:
            return
        name = name.lower()
        if b"_" in name and self._listener.underscores != ALLOW:
            if self._listener.underscores == REJECT:
                raise Refusal(400, UNDERSCORE)
            return
        headers = self._headers
        if name in headers:
            value = join(headers, name, value)
            self._twice = (*self._twice, name)
        headers[name] = value.rstrip(b" \t")

    def on_headers_complete(self) -> None:
        """The head is here: refuse early what will not be answered well, and let the body come."""
        parser, listener = self._parser, self._listener
        method, limit = parser.get_method(), listener.limits.header_bytes
        if (self._raw or limit < PIECE_BYTES) and head_bytes(method, self._target, self._headers) > limit:
            raise head_too_large(limit)
        message = check_head(method, parser.get_http_version(), self._target, self._headers, listener.limits)
        message.repeated = self._twice
        self._message = message
        if parser.should_upgrade():
            self._upgrading = True
            return
        self._raw = 0
        if self._task is None and message.length:
            self.expires = listener.loop.time() + listener.deadlines.body
            if message.wants_continue and self._transport is not None:
                self._transport.write(CONTINUE)

    def on_body(self, data: bytes) -> None:
        """A piece of the body, counted against every cap before it is kept."""
        message = self._message
        assert message is not None
        self._count_body(message, len(data))
        self._body.add(data)

    def _count_body(self, message: Message, size: int) -> None:
        """Count bytes of a body; what comes fast enough has the deadline again. Raises `Refusal` above a cap."""
        listener = self._listener
        message.size += size
        self._buffered += size
        listener.buffered += size
        if message.size > listener.limits.body_bytes:
            raise too_large(listener.limits.body_bytes)
        if listener.buffered > listener.limits.buffered_bytes:
            raise too_busy()
        self._fresh += size
        if self._fresh >= listener.body_quantum and self._task is None:
            self._fresh = 0
            self.expires = listener.loop.time() + listener.deadlines.body

    def body_grew(self, size: int) -> bool:
        """Count bytes that no parser saw; False when they were too many and the request is refused."""
        message = self._message
        assert message is not None
        try:
            self._count_body(message, size)
        except Refusal as refusal:
            self._refuse(refusal)
            return False
        return True

    def on_message_complete(self) -> None:
        """A whole request: let it have its turn."""
        message = self._message
        if self._upgrading or message is None:
            return
        message.body = self._body.take()
        message.keep = self._parser.should_keep_alive()
        self._complete(message)

    def _complete(self, message: Message) -> None:
        self._count += 1
        if self._count == self._listener.limits.requests_per_connection:
            message.keep = False
        self._last = not message.keep
        self._reset_message()
        self.enqueue(message)

    # large bodies -----------------------------------------------------------------------------------------------------

    def _receive_large(self, start: memoryview) -> None:
        """Read the rest of the body straight to where it stays. llhttp has seen the head at most, and starts anew."""
        message, transport = self._message, self._transport
        if message is None or message.length is None or transport is None:
            return
        self._parser = httptools.HttpRequestParser(self)
        if not len(start) or self.body_grew(len(start)):
            self._large = LargeBody(self, message.length, start)
            transport.set_protocol(self._large)

    def large_body_done(self, body: bytearray) -> None:
        """All of it is here; what comes next is another request."""
        message, transport = self._message, self._transport
        self._large = None
        if message is not None and transport is not None:
            transport.set_protocol(cast(asyncio.Protocol, self))
            message.body = body
            self._complete(message)


def missing_of(message: Message, at_hand: int) -> int:
    """How many bytes of a body are yet to come when its first `at_hand` are here; 0 when its length is not known, or
    when the parser has kept some of them: that happens where a head's last line comes in two reads."""
    if message.length is None or message.length == CHUNKED or message.size:
        return 0
    return message.length - at_hand


def too_busy() -> Refusal:
    """The answer when all bodies together are too much."""
    return Refusal(503, "too many request bytes are waiting in this worker")
