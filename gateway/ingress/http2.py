"""HTTP/2 on a connection: our state machine between a socket and the REST and gRPC services.

Frames that arrive together are handled together, and what they cause leaves in one write per loop turn. A client that
does not read is not read either, so what waits for it, acknowledgements included, stays bounded.

Deadlines are lazy: `expires` is never later than the first of them, and `expired` looks which one it was.
"""

from __future__ import annotations

import asyncio

from gateway.ingress.grpc import GrpcStream
from gateway.ingress.http2_rest import RestStream
from gateway.ingress.linger import STALL_BYTES, Linger, Stall
from gateway.ingress.listener import DRAIN_IDLE, NEVER, Listener
from gateway.ingress.peer import Peer
from transcoding.http2.errors import ErrorCode
from transcoding.http2.flow import Outbox
from transcoding.http2.hpack import HeaderBlock
from transcoding.http2.limits import Http2Limits
from transcoding.http2.server import ServerConnection
from transcoding.http2.stream import Receiver, Stream

GRPC = b"application/grpc"
SHARE = 2
"""One connection may hold this part of what all requests of a listener may hold in bytes."""
LAST_PING = b"goodbye!"
LAST_PING_SECONDS = 1.0


class Http2(asyncio.Protocol):
    """One HTTP/2 connection, of the client `peer`. `unfinished` holds the streams whose request is still
    arriving."""

    __slots__ = ("_accepted", "_drained", "_flush_scheduled", "_frame", "_frame_expires", "_held",
                 "_idle_since", "_last_ping_expires", "_leaving", "_settings_expires", "_stall", "_stall_expires",
                 "_transport", "_waiting", "expires", "h2", "listener", "peer", "unfinished")  # fmt: skip

    def __init__(self, listener: Listener, transport: asyncio.Transport, peer: Peer) -> None:
        limits = listener.limits
        self.listener = listener
        self.h2 = ServerConnection(
            Http2Limits(max_streams=limits.streams, header_list_bytes=limits.header_bytes, headers=limits.headers),
            self._accept,
            listener.loop.time,
        )
        self.unfinished: dict[int, GrpcStream | RestStream] = {}
        self._transport: asyncio.Transport | None = transport
        self.peer = peer
        self._flush_scheduled = False
        self._accepted = 0
        self._held = 0
        self._leaving = False  # the first GOAWAY was sent
        self._last_ping_expires = NEVER
        self._drained: asyncio.Future[None] | None = None
        self._stall: Stall | None = None
        self._stall_expires = NEVER
        self._waiting: dict[int, tuple[Outbox, int, float]] = {}  # streams with no window: bytes sent until when
        self._frame = 0
        self._frame_expires = NEVER
        self._idle_since = listener.loop.time()
        self._settings_expires = self.expires = self._idle_since + listener.deadlines.header
        if listener.draining:
            self.expires = self._idle_since + DRAIN_IDLE
        self.h2.start()
        self.schedule_flush()

    def _accept(self, stream: Stream, block: HeaderBlock, end_stream: bool) -> Receiver:
        self._accepted += 1
        if self._accepted == self.listener.limits.requests_per_connection or self.listener.draining:
            self.drain()
        kind = GrpcStream if is_grpc(block) else RestStream
        receiver = kind(self, stream)
        receiver.headers_received(block, end_stream)
        if not end_stream:
            self.expect(stream.id, receiver)
        return receiver

    # what streams ask for ---------------------------------------------------------------------------------------------

    def expect(self, stream_id: int, receiver: GrpcStream | RestStream) -> None:
        """More of this stream's request must come until `receiver.expires`."""
        if receiver.expires == NEVER:
            self.unfinished.pop(stream_id, None)
        else:
            self.unfinished[stream_id] = receiver
            self._due(receiver.expires)

    def hold(self, size: int) -> bool:
        """Count bytes of requests that are in memory, fewer by a negative `size`; False when they are too many for the
        connection or the worker."""
        listener = self.listener
        self._held += size
        listener.buffered += size
        most = listener.limits.buffered_bytes
        return size <= 0 or (listener.buffered <= most and self._held * SHARE <= most)

    def watch(self, stream: Stream) -> None:
        """Give up the stream if it has something to send and the client makes no room for it."""
        outbox = stream.outbox
        if outbox is not None and stream.id not in self._waiting:
            now = self.listener.loop.time()
            self._waiting[stream.id] = (outbox, outbox.taken, now)
            self._due(now + self.listener.deadlines.write_stall)

    def stream_done(self, stream: Stream) -> None:
        """A request is answered; the last one starts the idle clock."""
        self.unfinished.pop(stream.id, None)
        if stream.outbox is not None:
            self.watch(stream)
        elif not self.h2.streams:
            self._idle_since = self.listener.loop.time()
            self._due(self._idle_since + self._idle_seconds)

    @property
    def _idle_seconds(self) -> float:
        return DRAIN_IDLE if self.listener.draining else self.listener.deadlines.idle

    def _due(self, when: float) -> None:
        if when < self.expires:
            self.expires = when

    # reading ----------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Feed the state machine and write what it wants to say."""
        self.listener.received.value += len(data)
        h2 = self.h2
        h2.receive(data)
        if h2.outgoing and not self._flush_scheduled:
            self.schedule_flush()
        frame = h2.incomplete
        if frame != self._frame:
            self._frame = frame
            self._frame_expires = self.listener.loop.time() + self.listener.deadlines.header if frame else NEVER
            self._due(self._frame_expires)
        self._end_if_done()

    # writing ----------------------------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """The client does not read as fast as we write."""
        return self._drained is not None

    def schedule_flush(self) -> None:
        """Write at the end of this loop turn."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.listener.loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._flush_scheduled = False
        self._flush()
        self._end_if_done()

    def _flush(self) -> None:
        """Write all frames that wait."""
        outgoing, transport = self.h2.outgoing, self._transport
        if not outgoing or transport is None:
            return
        self.listener.sent.value += sum(map(len, outgoing))
        if len(outgoing) == 1:
            transport.write(outgoing[0])
        else:
            transport.writelines(outgoing)
        outgoing.clear()

    def pause_writing(self) -> None:
        """The client does not read: stop reading it, and give it only so long."""
        if self._transport is not None:
            self._drained = self.listener.loop.create_future()
            self._stall = Stall(self._transport)
            self._stall_expires = self.listener.loop.time() + self.listener.deadlines.write_stall
            self._due(self._stall_expires)
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stall_expires = NEVER
        self._release_writers()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        for stream in list(self.h2.streams.values()):
            stream.receiver.writable()

    def _release_writers(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def drained(self) -> None:
        """Wait until the client reads again."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    # deadlines --------------------------------------------------------------------------------------------------------

    def expired(self, now: float) -> None:
        """Something took too long, or may have."""
        transport = self._transport
        if transport is None:
            return
        if self._stall is not None and now >= self._stall_expires:
            self._stall_expires = now + self.listener.deadlines.write_stall
            if self._stall.stalled():
                transport.abort()
                return
        if self.h2.settings_acknowledged:
            self._settings_expires = NEVER
        if now >= self._settings_expires:
            self.h2.goaway(ErrorCode.SETTINGS_TIMEOUT, debug=b"SETTINGS were not acknowledged in time")
        elif now >= self._frame_expires:
            self.h2.goaway(ErrorCode.ENHANCE_YOUR_CALM, debug=b"a frame did not arrive in time")
        else:
            self._expire_streams(now)
            self._expire_connection(now)
        self.expires = self._next_deadline()
        self._end_if_done()

    def _expire_streams(self, now: float) -> None:
        for receiver in [each for each in self.unfinished.values() if each.expires <= now]:
            receiver.too_slow()
        seconds = self.listener.deadlines.write_stall
        for stream_id, (outbox, taken, since) in [*self._waiting.items()]:
            stream = self.h2.streams.get(stream_id)
            if stream is None or stream.outbox is None:
                del self._waiting[stream_id]
            elif stream.outbox is not outbox or stream.outbox.taken >= taken + STALL_BYTES:
                self._waiting[stream_id] = (stream.outbox, stream.outbox.taken, now)
            elif now >= since + seconds:
                del self._waiting[stream_id]
                self._give_up(stream)

    def _give_up(self, stream: Stream) -> None:
        receiver = stream.receiver
        stream.reset(ErrorCode.CANCEL)
        receiver.stream_reset(ErrorCode.CANCEL, False)
        self.schedule_flush()

    def _expire_connection(self, now: float) -> None:
        if now >= self._last_ping_expires:
            self._leave()
        elif not self.h2.streams and now >= self._idle_since + self._idle_seconds:
            self.drain()

    def _next_deadline(self) -> float:
        deadlines = self.listener.deadlines
        times = [self._stall_expires, self._settings_expires, self._frame_expires, self._last_ping_expires]
        times += [receiver.expires for receiver in self.unfinished.values()]
        times += [since + deadlines.write_stall for _, _, since in self._waiting.values()]
        if not self.h2.streams and not self._leaving:
            times.append(self._idle_since + self._idle_seconds)
        return min(times)

    # end --------------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Announce the end (RFC 9113 §6.8). Streams that the client opened before it knows of that are still taken: it
        knows when it answers the PING behind the announcement, or after a while."""
        if not self._leaving:
            self._leaving = True
            self.h2.goaway(ErrorCode.NO_ERROR)
            self.h2.on_pong = self._pong
            self.h2.ping(LAST_PING)
            self._last_ping_expires = self.listener.loop.time() + LAST_PING_SECONDS
            self._due(self._last_ping_expires)
            self.schedule_flush()

    def _pong(self, payload: bytes) -> None:
        if payload == LAST_PING and self._last_ping_expires != NEVER:
            self._leave()

    def _leave(self) -> None:
        """No streams from here on; the connection ends with the last one."""
        self._last_ping_expires = NEVER
        self.h2.goaway_final()
        self.schedule_flush()

    def _end_if_done(self) -> None:
        h2 = self.h2
        if h2.closed or (self._leaving and self._last_ping_expires == NEVER and not h2.streams):
            self._end()

    def _end(self) -> None:
        """Close once the client has read what it was sent; this object is done."""
        self._flush()
        transport, self._transport = self._transport, None
        if transport is not None:
            self._forget_streams()
            Linger(self.listener, self, transport, self.peer.address)

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
        self._forget_streams()
        self.listener.release(self, self.peer.address)

    def _forget_streams(self) -> None:
        self.h2.connection_lost()
        self.h2.outgoing.clear()
        self.unfinished.clear()
        self._waiting.clear()
        self._release_writers()


def is_grpc(block: HeaderBlock) -> bool:
    """Does the content-type say gRPC, and not gRPC-Web?"""
    for name, value in block.fields:
        if name == b"content-type" and value.startswith(GRPC):
            return value[len(GRPC) : len(GRPC) + 1] in (b"", b"+", b";")
    return False
