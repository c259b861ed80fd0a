"""Which protocol does a new connection speak? TLS says it by ALPN, cleartext by its first bytes.

An HTTP/2 client starts with the 24-byte preface (RFC 9113 §3.4), which no HTTP/1.1 request can begin with. Until it is
clear the connection is only this small object; then the protocol is swapped and the edge is out of the way.
"""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.ingress.http1 import Http1
from gateway.ingress.http2 import Http2
from gateway.ingress.listener import DRAIN_IDLE, NEVER, Listener, OpenConnection
from gateway.ingress.peer import Peer, peer_of
from transcoding.http2.frames import PREFACE


class Edge(asyncio.Protocol):
    """A connection that has not said anything yet. `handshake` stood for it while TLS was negotiated."""

    __slots__ = ("_handshake", "_head", "_listener", "_peer", "_transport", "admitted", "expires")

    def __init__(self, listener: Listener, handshake: OpenConnection | None = None) -> None:
        self._listener = listener
        self._handshake = handshake
        self._transport: asyncio.Transport | None = None
        self._peer = Peer()
        self._head = b""
        self.admitted = False
        self.expires = NEVER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit or refuse; with ALPN the protocol is known now."""
        transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from asyncio's
        listener = self._listener
        self._peer = peer_of(transport, listener.verifies)
        if self._handshake is not None:
            listener.exchange(self._handshake, self)
        elif not listener.admit(self, self._peer.address):
            transport.abort()
            return
        self.admitted = True
        self._transport = transport
        self.expires = listener.loop.time() + listener.deadlines.header
        if listener.draining:
            self.drain()
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            self._become(Http2(listener, transport, self._peer), b"")

    def data_received(self, data: bytes) -> None:
        """Decide as soon as the bytes allow."""
        if self._transport is None:
            return
        head = self._head + data if self._head else data
        if head.startswith(PREFACE):
            self._become(Http2(self._listener, self._transport, self._peer), head)
        elif PREFACE.startswith(head):
            self._head = head
        else:
            self._become(Http1(self._listener, self._transport, self._peer), head)

    def _become(self, protocol: Http1 | Http2, data: bytes) -> None:
        assert self._transport is not None
        self._listener.replace(self, protocol)
        self._transport.set_protocol(protocol)
        if data:
            protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone before it said anything."""
        if self._transport is not None:
            self._transport = None
            self._listener.release(self, self._peer.address)

    def expired(self, now: float) -> None:
        """Nothing was said in time."""
        self.abort()

    def drain(self) -> None:
        """A request may be on its way."""
        self.expires = min(self.expires, self._listener.loop.time() + DRAIN_IDLE)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
