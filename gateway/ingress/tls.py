"""TLS between a socket and the edge.

The event loop's own TLS hides a connection until its handshake is done and hides what it has encrypted and not sent, so
that clients which stall in either place would be bounded by nothing. Here a handshake counts as a connection from its
first byte, with a deadline, and what waits for the client is what waits in the socket's transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from typing import Any, cast

from config.schema import Tls as TlsConfig
from gateway.ingress.edge import Edge
from gateway.ingress.listener import NEVER, Listener
from transcoding.message import Buffer

READ_BYTES = 256 * 1024
RECORD_BYTES = 16 * 1024


class Tls(asyncio.Transport, asyncio.Protocol):
    """One connection: to the socket a protocol, to what speaks on it a transport, and until then one that is open."""

    def __init__(self, listener: Listener, context: ssl.SSLContext) -> None:
        super().__init__()
        self._listener = listener
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._socket: asyncio.Transport | None = None
        self._address = ""
        self._app: asyncio.Protocol | asyncio.BufferedProtocol | None = None
        self._paused = self._ended = False
        self.expires = NEVER

    # the socket -------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit or refuse, before a handshake costs anything."""
        transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from asyncio's
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else ""
        if self._listener.admit(self, self._address):
            self._socket = transport
            self.expires = self._listener.loop.time() + self._listener.deadlines.handshake
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Shake hands, then decrypt. After our end of the conversation nobody wants to know what comes."""
        if self._ended and isinstance(self._app, asyncio.Protocol):
            self._app.data_received(data)
            return
        self._incoming.write(data)
        if self._app is not None or self._shake_hands():
            self._read()

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError:
            self._flush()  # the alert that says why
            self.close()
            return False
        edge = Edge(self._listener, self)
        self._app = edge
        edge.connection_made(self)
        self._flush()
        return True

    def _read(self) -> None:
        """Give what can be decrypted now to whoever speaks on the connection."""
        while not self._paused and not self._ended and self._app is not None:
            data = self._decrypt()
            if not data:
                return
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        """To a protocol of either kind; one that takes what it asked for may leave the rest to another."""
        while data and isinstance(self._app, asyncio.BufferedProtocol):
            room = memoryview(self._app.get_buffer(len(data)))
            size = min(len(room), len(data))
            room[:size] = data[:size]
            room.release()
            self._app.buffer_updated(size)
            data = data[size:]
        if data and isinstance(self._app, asyncio.Protocol):
            self._app.data_received(data)

    def _decrypt(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        try:
            while size < READ_BYTES:
                piece = self._tls.read(RECORD_BYTES)
                if not piece:
                    raise ssl.SSLZeroReturnError
                pieces.append(piece)
                size += len(piece)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:  # the client's last word, or none that makes sense
            self.close()
        return b"".join(pieces)

    def _flush(self) -> None:
        if self._outgoing.pending and self._socket is not None:
            self._socket.write(self._outgoing.read())

    def pause_writing(self) -> None:
        """The client does not read."""
        if self._app is not None:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._app is not None:
            self._app.resume_writing()

    def eof_received(self) -> bool:
        """A client that stops sending is gone."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever spoke on the connection."""
        if self._socket is None:
            return
        self._socket = None
        if self._app is not None:
            self._app.connection_lost(exc)
        else:
            self._listener.release(self, self._address)

    # an open connection, until the handshake is done ------------------------------------------------------------------

    def expired(self, now: float) -> None:
        """The handshake took too long."""
        self.abort()

    def drain(self) -> None:
        """A request may follow the handshake."""

    # a transport ------------------------------------------------------------------------------------------------------

    def write(self, data: Buffer | bytearray) -> None:
        """Encrypt and send."""
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[Buffer | bytearray]) -> None:
        """Encrypt and send all of them in one write."""
        if self._ended:
            return
        for data in list_of_data:
            view = memoryview(data)
            while view:
                view = view[self._tls.write(view) :]
        self._flush()

    def can_write_eof(self) -> bool:
        """TLS has its own way to say it."""
        return True

    def write_eof(self) -> None:
        """Say that nothing follows, and close the sending half of the socket."""
        self._say_goodbye()
        if self._socket is not None:
            self._socket.write_eof()

    def close(self) -> None:
        """Say that nothing follows, and close when everything was sent."""
        self._say_goodbye()
        if self._socket is not None:
            self._socket.close()

    def _say_goodbye(self) -> None:
        if not self._ended:
            self._ended = True
            with contextlib.suppress(ssl.SSLError):  # it would wait for the client's goodbye, or never greeted it
                self._tls.unwrap()
            self._flush()

    def abort(self) -> None:
        """Close at once."""
        self._ended = True
        if self._socket is not None:
            self._socket.abort()

    def is_closing(self) -> bool:
        """Was `close` or `abort` called?"""
        return self._socket is None or self._socket.is_closing()

    def pause_reading(self) -> None:
        """Give nothing more to whoever speaks on the connection, and leave it in the socket."""
        self._paused = True
        if self._socket is not None:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self._listener.loop.call_soon(self._read)
        if self._socket is not None:
            self._socket.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the client."""
        return 0 if self._socket is None else self._socket.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, or what the socket's transport knows."""
        if name == "ssl_object":
            return self._tls
        return default if self._socket is None else self._socket.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who speaks on the connection from now on."""
        self._app = cast("asyncio.Protocol | asyncio.BufferedProtocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who speaks on the connection."""
        return self if self._app is None else self._app


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """TLS as the listener says, offering HTTP/2 and HTTP/1.1 by ALPN. Raises OSError for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if tls.client_ca:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL if tls.client_certificate == "optional" else ssl.CERT_REQUIRED
    return context
