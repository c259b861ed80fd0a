"""A gRPC client connection for load: the smallest HTTP/2 that makes unary calls (RFC 9113, gRPC over HTTP/2).

Windows are opened as far as they go, so replies never wait. Requests send literal header fields, and SETTINGS announce
a header table of size 0, so equal header blocks mean equal headers and are decoded once.
"""

from __future__ import annotations

import asyncio
import struct

import hpack

from loadtests.exchange import Address, Exchange
from loadtests.load.client import Client, LoadError, Reply

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_MAX_WINDOW, _DEFAULT_WINDOW, _MAX_FRAME = 2**31 - 1, 65535, 16384


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame: length, type, flags, stream, payload."""
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def greeting() -> bytes:
    """The client's preface: no header table, no push, windows at their largest."""
    settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, _MAX_WINDOW)
    update = struct.pack(">I", _MAX_WINDOW - _DEFAULT_WINDOW)
    return _PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW_UPDATE, 0, 0, update)


class Http2Client(Client):
    """One unary call at a time, without regard to the peer's windows.

    That is safe for small bodies only: every peer grants 64 KB at first (RFC 9113 §6.9.2) and grants anew by the time
    that half of it is used.
    """

    def __init__(self, exchange: Exchange, address: Address) -> None:
        super().__init__()
        if len(exchange.body) > _DEFAULT_WINDOW // 2:
            raise ValueError(f"a body of {len(exchange.body)} bytes needs flow control, which this client lacks")
        head = ((":method", "POST"), (":scheme", "http"), (":path", exchange.path), (":authority", str(address)))
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        self._head = encoder.encode([(*pair, True) for pair in (*head, *exchange.headers)])
        starts = range(0, max(1, len(exchange.body)), _MAX_FRAME)
        self._parts = [exchange.body[at : at + _MAX_FRAME] for at in starts]
        self._stream, self._unread, self._received = -1, b"", 0
        self._decoder, self._blocks = hpack.Decoder(), dict[bytes, dict[str, str]]()
        self._block, self._ends, self._reply = b"", False, Reply()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet at once: the peer's SETTINGS may come first, and their acknowledgement must not precede the preface."""
        super().connection_made(transport)
        self._write(greeting())

    def _next_request(self) -> bytes:
        self._stream += 2
        self._reply = Reply()
        last = len(self._parts) - 1
        data = [frame(_DATA, _END_STREAM * (i == last), self._stream, part) for i, part in enumerate(self._parts)]
        return b"".join([frame(_HEADERS, _END_HEADERS, self._stream, self._head), *data])

    def data_received(self, data: bytes) -> None:
        """Take whole frames off what came."""
        data, at = self._unread + data, 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            self._on_frame(data[at + 3], data[at + 4], data[at + 9 : end])
            at = end
        self._unread = data[at:]

    def _on_frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _DATA:
            self._on_data(payload, flags)
        elif kind in (_HEADERS, _CONTINUATION):
            self._on_headers(kind, flags, payload)
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._write(frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind in (_RST_STREAM, _GOAWAY):
            self._fail(LoadError(f"the peer sent {'RST_STREAM' if kind == _RST_STREAM else 'GOAWAY'}: {payload!r}"))

    def _on_data(self, payload: bytes, flags: int) -> None:
        body = payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
        self._reply.body += body
        self._received += len(payload)
        if self._received > _MAX_WINDOW // 2:
            self._write(frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0
        if flags & _END_STREAM:
            self._finish(self._reply)

    def _on_headers(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _HEADERS:
            self._block, self._ends = b"", bool(flags & _END_STREAM)
        self._block += payload
        if not flags & _END_HEADERS:
            return
        self._reply.headers.update(self._decode(self._block))
        self._reply.status = int(self._reply.headers.get(":status", 0))
        if self._ends:
            self._finish(self._reply)

    def _decode(self, block: bytes) -> dict[str, str]:
        known = self._blocks.get(block)
        if known is None:
            known = self._blocks[block] = {str(n): str(v) for n, v, *_ in self._decoder.decode(block)}
        return known
