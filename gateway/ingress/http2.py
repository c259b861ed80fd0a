"""HTTP/2 on a connection: our state machine between a socket and the REST and gRPC services.

Frames that arrive together are handled together, and what they cause leaves in one write per loop turn. A client that does
not read is not read either, so what waits for it stays bounded by its streams.
"""

from __future__ import annotations

import asyncio

from gateway.ingress.grpc import GrpcStream
from gateway.ingress.http2_rest import RestStream
from gateway.ingress.listener import DRAIN_IDLE, NEVER, Listener
from transcoding.http2.errors import ErrorCode
from transcoding.http2.hpack import HeaderBlock
from transcoding.http2.limits import Http2Limits
from transcoding.http2.server import ServerConnection
from transcoding.http2.stream import Receiver, Stream

STALL_BYTES = 16 * 1024
GRPC = b"application/grpc"
DRAIN_PING = b"draining"


class Http2(asyncio.Protocol):
    """One HTTP/2 connection. `unfinished` holds the streams whose request is still arriving.

    It ends in two steps (RFC 9113 §6.8): a GOAWAY that takes all streams, with a PING; and when the client answers, so
    that all it sent before it knew is here, one that names the last. Then the client closes, or is closed.
    """

    __slots__ = ("_address", "_drained", "_flush_scheduled", "_last_named", "_leaving", "_transport", "_unsent", "expires", "h2",
                 "listener", "unfinished")  # fmt: skip

    def __init__(self, listener: Listener, transport: asyncio.Transport, address: str) -> None:
        limits = listener.limits
        self.listener = listener
        self.h2 = ServerConnection(
            Http2Limits(max_streams=limits.streams, header_list_bytes=limits.header_bytes, headers=limits.headers),
            self._accept,
            listener.loop.time,
        )
        self.unfinished: dict[int, GrpcStream | RestStream] = {}
        self._transport: asyncio.Transport | None = transport
        self._address = address
        self._flush_scheduled = False
        self._drained: asyncio.Future[None] | None = None
        self._unsent = 0
        self._leaving = self._last_named = False
        self.expires = listener.loop.time() + (DRAIN_IDLE if listener.draining else listener.deadlines.header)
        self.h2.start()
        self.schedule_flush()

    def _accept(self, stream: Stream, block: HeaderBlock, end_stream: bool) -> Receiver:
        kind = GrpcStream if is_grpc(block) else RestStream
        receiver = kind(self, stream)
        receiver.headers_received(block, end_stream)
        if not end_stream and receiver.expires != NEVER:
            self.unfinished[stream.id] = receiver
        if self.listener.draining:
            self.drain()
        return receiver

    # reading ----------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Feed the state machine and write what it wants to say."""
        self.listener.received.value += len(data)
        h2 = self.h2
        h2.receive(data)
        if h2.outgoing and not self._flush_scheduled:
            self.schedule_flush()
        if h2.closed:
            self._end()
        else:
            self._set_expiry()

    def _set_expiry(self) -> None:
        deadlines = self.listener.deadlines
        if self.h2.in_header_block:
            if self.expires == NEVER or not self.h2.streams:
                self.expires = min(self.expires, self.listener.loop.time() + deadlines.header)
        elif self.unfinished:
            self.expires = min(receiver.expires for receiver in self.unfinished.values())
        elif self.h2.streams:
            self.expires = NEVER
        else:
            self.expires = self.listener.loop.time() + (DRAIN_IDLE if self._leaving else deadlines.idle)

    def stream_done(self, stream_id: int) -> None:
        """A stream ended; the last one starts the idle clock."""
        self.unfinished.pop(stream_id, None)
        if self._drained is None:
            self._set_expiry()

    # writing ----------------------------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """The client does not read as fast as we write."""
        return self._drained is not None

    def schedule_flush(self) -> None:
        """Write at the end of this loop turn."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.listener.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write all frames that wait."""
        self._flush_scheduled = False
        outgoing, transport = self.h2.outgoing, self._transport
        if not outgoing or transport is None:
            return
        self.listener.sent.value += sum(map(len, outgoing))
        if len(outgoing) == 1:
            transport.write(outgoing[0])
        else:
            transport.writelines(outgoing)
        outgoing.clear()

    def _end(self) -> None:
        self.flush()
        if self._transport is not None:
            self.expires = self.listener.loop.time() + self.listener.deadlines.write_stall
            self._transport.close()

    def pause_writing(self) -> None:
        """The client does not read: stop reading it, and give it only so long."""
        if self._transport is not None:
            self._drained = self.listener.loop.create_future()
            self._unsent = self._transport.get_write_buffer_size()
            self.expires = self.listener.loop.time() + self.listener.deadlines.write_stall
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._set_expiry()
        for stream in list(self.h2.streams.values()):
            if stream.receiver is not None:
                stream.receiver.writable()

    async def drained(self) -> None:
        """Wait until the client reads again."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    # end --------------------------------------------------------------------------------------------------------------

    def expired(self, now: float) -> None:
        """Too late for whatever the connection waits for."""
        transport = self._transport
        if transport is None:
            return
        if self._drained is not None or transport.is_closing():
            unsent = transport.get_write_buffer_size()
            if unsent <= self._unsent - STALL_BYTES:
                self._unsent = unsent
                self.expires = now + self.listener.deadlines.write_stall
            else:
                transport.abort()
        elif self.unfinished and not self.h2.in_header_block:
            for receiver in [each for each in self.unfinished.values() if each.expires <= now]:
                receiver.too_slow()
            self._set_expiry()
        elif self._last_named or self.h2.in_header_block:
            self.h2.goaway(ErrorCode.NO_ERROR)
            self._end()
        elif self._leaving:
            self._name_last(b"")  # no answer to the PING
            self._set_expiry()
        else:
            self.drain()
            self._set_expiry()

    def drain(self) -> None:
        """Ask the client to go away: what it sends before it knows is still answered."""
        if not self._leaving:
            self._leaving = True
            self.h2.goaway(ErrorCode.NO_ERROR)
            self.h2.on_pong = self._name_last
            self.h2.ping(DRAIN_PING)
            self.schedule_flush()
            if not self.h2.streams:
                self._set_expiry()

    def _name_last(self, payload: bytes) -> None:
        """The client knows: nothing more will come that it wants an answer to."""
        if not self._last_named:
            self._last_named = True
            self.h2.goaway_final()
            self.schedule_flush()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        """A client that stops sending is gone."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Every stream learns of it, which cancels its work at the worker."""
        self._transport = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self.h2.connection_lost()
        self.unfinished.clear()
        self.listener.release(self, self._address)


def is_grpc(block: HeaderBlock) -> bool:
    """Does the content-type say gRPC?"""
    return any(name == b"content-type" and value.startswith(GRPC) for name, value in block.fields)
