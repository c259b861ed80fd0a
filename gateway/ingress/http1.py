"""HTTP/1.1 on a connection: requests are answered in order by one task, and a client that takes too long is given up.

The task starts when a request is complete. While as many requests wait as `pipelined` allows, nothing more is read.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.ingress.exchange import Response
from gateway.ingress.http1_head import Message, Refusal
from gateway.ingress.http1_reader import NOTHING, Http1Reader
from gateway.ingress.http1_response import CONTINUE, LAST_CHUNK, chunk, stream_head, whole_head
from gateway.ingress.linger import Linger, Stall
from gateway.ingress.listener import DRAIN_IDLE, NEVER, Listener
from gateway.ingress.peer import Peer
from transcoding.dialects.oip_json import encode_error
from transcoding.status import GatewayError

log = logging.getLogger(__name__)

JOIN_BYTES = 64 * 1024


class Http1(Http1Reader, asyncio.Protocol):
    """One HTTP/1.1 connection. `expires` is when it is too late for whatever it waits for."""

    __slots__ = ("_drained", "_stall")

    def __init__(self, listener: Listener, transport: asyncio.Transport, peer: Peer) -> None:
        super().__init__(listener, transport, peer)
        self._drained: asyncio.Future[None] | None = None
        self._stall: Stall | None = None

    def enqueue(self, item: Message | Refusal) -> None:
        """Start answering, unless that is going on."""
        self._queue.append(item)
        if self._task is None:
            self.expires = NEVER
            self._task = self._listener.loop.create_task(self._answer_all())

    # answering --------------------------------------------------------------------------------------------------------

    async def _answer_all(self) -> None:
        """Answer what waits, in order; then wait for more, or close."""
        try:
            while self._queue or self._held:
                while self._queue:
                    item = self._queue.popleft()
                    if isinstance(item, Refusal):
                        self._write(Response(item.status, (encode_error(item.message),)), item.method, False, False)
                        self._linger()
                        return
                    await self._answer(item)
                if self._held:
                    await asyncio.sleep(0)  # other connections have their turn before this one goes on
                    self._feed_held()
        except asyncio.CancelledError:
            return  # the client is gone; there is nobody to tell
        except Exception:
            log.exception("answering an HTTP/1.1 request failed")
            self.abort()
            return
        finally:
            self._task = None
        self._after_answers()

    def _after_answers(self) -> None:
        """All is answered: wait for more, or for the rest of what has begun to come, or close."""
        listener, transport = self._listener, self._transport
        if transport is None:
            return
        if self._last or (listener.draining and not self._begun):
            self._close()
            return
        deadlines = listener.deadlines
        seconds = (deadlines.body if self._message else deadlines.header) if self._begun else deadlines.idle
        self.expires = listener.loop.time() + seconds
        if self._message is not None and self._message.wants_continue and not self._message.size:
            transport.write(CONTINUE)

    async def _answer(self, message: Message) -> None:
        listener = self._listener
        listener.requests_in_flight += 1
        try:
            response = await listener.rest.serve(message, listener, self._peer)
            if listener.draining and not (self._queue or self._begun or self._held):
                message.keep, self._last = False, True
            if response.stream is None:
                self._write(response, message.method, message.keep, message.old)
            else:
                await self._write_stream(response, message)
            if self._drained is not None:
                await self._drained
        finally:
            listener.requests_in_flight -= 1
            if self._transport is not None and message.size:
                self._count_bytes(-message.size)

    def _write(self, response: Response, method: bytes, keep: bool, old: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        body = response.body
        size = len(body[0]) if len(body) == 1 else sum(map(len, body))
        head = whole_head(response, size, keep, old)
        self._listener.sent.value += len(head) + size
        if method == b"HEAD":
            transport.write(head)
        elif size <= JOIN_BYTES:
            transport.write(head + body[0] if len(body) == 1 else head + b"".join(body))
        else:
            transport.writelines([head, *body])

    async def _write_stream(self, response: Response, message: Message) -> None:
        """Chunks as they come. HTTP/1.0 has none: there the end of the connection is the end of the answer."""
        transport, stream = self._transport, response.stream
        assert transport is not None
        assert stream is not None
        if message.old:
            message.keep, self._last = False, True
        transport.write(stream_head(response, message.keep, message.old))
        try:
            async for piece in stream:
                self._listener.sent.value += len(piece)
                transport.write(piece if message.old else chunk(piece))
                if self._drained is not None:
                    await self._drained
            if not message.old:
                transport.write(LAST_CHUNK)
        except GatewayError:
            log.debug("a streamed answer broke off")
            self.abort()
        finally:
            await stream.aclose()

    # flow and end -----------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client does not read: give it only so long."""
        if self._transport is not None:
            self._drained = self._listener.loop.create_future()
            self._watch_writes(self._transport)

    def resume_writing(self) -> None:
        """The client reads again."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self._transport is not None and not self._transport.is_closing():
            self.expires = NEVER

    def _watch_writes(self, transport: asyncio.Transport) -> None:
        self._stall = Stall(transport)
        self.expires = self._listener.loop.time() + self._listener.deadlines.write_stall

    def expired(self, now: float) -> None:
        """Too late: say so if a request was under way, else just close."""
        transport = self._transport
        if transport is None:
            return
        if self._stall is not None and (self._drained is not None or transport.is_closing()):
            if self._stall.stalled():
                transport.abort()
            self.expires = now + self._listener.deadlines.write_stall
        elif self._begun:
            what = "body" if self._message is not None else "head"
            self._refuse(Refusal(408, f"the request's {what} did not arrive in time"))
        else:
            self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._last = True
            self._transport.close()
            self._watch_writes(self._transport)

    def _linger(self) -> None:
        """Close once the client has read the last answer; this object is done."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._count_bytes(-self._buffered)
            Linger(self._listener, self, transport, self._peer.address)

    def drain(self) -> None:
        """Close when idle for a while; otherwise the next answer says so and closes."""
        if self._task is None and not self._begun:
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
        self._held = NOTHING
        self._count_bytes(-self._buffered)
        if self._drained is not None and not self._drained.done():
            self._drained.cancel()
        if self._task is not None:
            self._task.cancel()
        self._listener.release(self, self._peer.address)
