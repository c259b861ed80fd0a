"""Clients that do not take what they are sent, and the end of a connection whose client may still be sending."""

from __future__ import annotations

import asyncio

from gateway.ingress.listener import Listener, OpenConnection

STALL_BYTES = 16 * 1024
QUIET_SECONDS = 1.0
LONGEST_SECONDS = 10.0
MOST_BYTES = 256 * 1024 * 1024


class Stall:
    """Watches a transport that has bytes to write. Ask `stalled` once per `write_stall` deadline."""

    __slots__ = ("_transport", "_unsent")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._unsent = transport.get_write_buffer_size()

    def stalled(self) -> bool:
        """Did the client take neither everything nor `STALL_BYTES` since this was asked last?"""
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        return self._unsent > 0 and self._unsent > before - STALL_BYTES


class Linger(asyncio.Protocol):
    """A connection on which nothing will be answered any more. Takes the place of `old`, whose memory is free then.

    Closing a socket with unread bytes makes the kernel send a reset, which can destroy the last answer before the
    client has read it (RFC 9112 §9.6). So the sending half is closed first and what still comes is read and dropped,
    until it is quiet. Over TLS, where there are no halves, the answer itself says that it is the last. A client that
    has not taken its answer yet has the `write_stall` deadline for it, again whenever it took some.
    """

    __slots__ = ("_address", "_dropped", "_end", "_listener", "_stall", "_stall_expires", "_transport", "expires")

    def __init__(self, listener: Listener, old: OpenConnection, transport: asyncio.Transport, address: str) -> None:
        self._listener = listener
        self._transport = transport
        self._address = address
        self._stall = Stall(transport)
        self._dropped = 0
        now = listener.loop.time()
        self._end = now + LONGEST_SECONDS
        self._stall_expires = now + listener.deadlines.write_stall
        self.expires = now + QUIET_SECONDS
        listener.exchange(old, self)
        transport.set_protocol(self)
        if transport.can_write_eof():
            transport.write_eof()
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Drop it."""
        self._listener.received.value += len(data)
        self._dropped += len(data)
        if self._dropped > MOST_BYTES:
            self._transport.abort()
        else:
            self.expires = min(self._end, self._listener.loop.time() + QUIET_SECONDS)

    def eof_received(self) -> bool:
        """The client is done too."""
        return False

    def expired(self, now: float) -> None:
        """Quiet, or long enough: close when the client has all it was sent, or does not take it."""
        transport = self._transport
        if transport.get_write_buffer_size():
            if now >= self._stall_expires:
                if self._stall.stalled():
                    transport.abort()
                    return
                self._stall_expires = now + self._listener.deadlines.write_stall
        elif transport.is_closing():
            transport.abort()
        else:
            transport.close()
        self.expires = now + QUIET_SECONDS

    def drain(self) -> None:
        """It ends soon anyway."""

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Both halves are closed."""
        self._listener.release(self, self._address)
