"""TLS on a listener: handshakes are counted as connections from their first byte, and have a deadline.

The event loop's own server hides a connection until its handshake is done, so that clients which stall there would be
bounded by nothing. Here connections are accepted one by one, admitted or refused, and then shake hands.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

from config.schema import Tls
from gateway.ingress.listener import NEVER, Listener
from routing.tasks import spawn

log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 64
PAUSE_WITHOUT_FILES = 0.1
"""Seconds without accepting when the process has no file descriptor left; trying at once would fail again at once."""


class Handshake:
    """A connection that has not finished its handshake. The event loop keeps the deadline."""

    __slots__ = ("expires", "task")

    def __init__(self) -> None:
        self.expires = NEVER
        self.task: asyncio.Task[None] | None = None

    def expired(self, now: float) -> None:
        """Not used."""

    def drain(self) -> None:
        """A request may follow; it is answered, and the connection closed then."""

    def abort(self) -> None:
        """Give up."""
        if self.task is not None:
            self.task.cancel()


class TlsAcceptor:
    """Accepts the connections of one listener and gives each to an edge once it is secured."""

    def __init__(self, listener: Listener, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._listener = listener
        self._socket = sock
        self._context = context
        self._loop = listener.loop
        self._retry: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Listen and accept from now on. Raises OSError."""
        self._socket.listen(backlog)
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Stop."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause(error)
                return
            self._admit(sock, peer[0] if isinstance(peer, tuple) else "")

    def _pause(self, error: OSError) -> None:
        log.error("cannot accept a connection: %s", error.strerror)
        self._loop.remove_reader(self._socket.fileno())
        self._retry = self._loop.call_later(PAUSE_WITHOUT_FILES, self._resume)

    def _resume(self) -> None:
        self._retry = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _admit(self, sock: socket.socket, address: str) -> None:
        sock.setblocking(False)
        handshake = Handshake()
        if self._listener.admit(handshake, address):
            handshake.task = spawn(self._secure(handshake, sock, address), "TLS handshake")
        else:
            sock.close()

    async def _secure(self, handshake: Handshake, sock: socket.socket, address: str) -> None:
        """Shake hands; a client that fails at it is dropped, and nobody needs to hear of it."""
        from gateway.ingress.edge import Edge  # the edge needs the listener's types

        listener = self._listener
        edge = Edge(listener, handshake)
        try:
            await self._loop.connect_accepted_socket(
                lambda: edge, sock, ssl=self._context, ssl_handshake_timeout=listener.deadlines.handshake
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and a timeout are OSErrors too
            log.debug("TLS handshake with %s failed: %r", address, error)
            sock.close()
            if not edge.admitted:
                listener.release(handshake, address)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS as the listener says, offering HTTP/2 and HTTP/1.1 by ALPN. Raises OSError for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if tls.client_ca:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
