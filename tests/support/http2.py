"""Helpers for HTTP/2 conversations: a receiver that records, both ends over bytes, and hand-made frames."""

from __future__ import annotations

from dataclasses import dataclass, field

from transcoding.http2 import ClientConnection, Connection, Http2Limits, ServerConnection, encode
from transcoding.http2 import frames as fr
from transcoding.http2.flow import Buffer
from transcoding.http2.headers import HeaderBlock, Pair
from transcoding.http2.stream import Stream

REQUEST: list[Pair] = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a"),
    (b":authority", b"host"),
]
RESPONSE: list[Pair] = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS: list[Pair] = [(b"grpc-status", b"0")]


@dataclass
class Recorder:
    """A receiver that keeps what it was told; `consume` gives DATA back at once."""

    stream: Stream | None = None
    consume: bool = True
    blocks: list[HeaderBlock] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: tuple[int, bool] | None = None
    writable_calls: int = 0

    @property
    def headers(self) -> list[tuple[Pair, ...]]:
        return [block.fields for block in self.blocks]

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        self._alive()
        self.blocks.append(block)
        self.ended = end_stream

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        self._alive()
        self.body += data
        self.ended = end_stream
        if self.consume and self.stream is not None:
            self.stream.consumed(len(data))

    def stream_reset(self, code: int, remote: bool) -> None:
        assert self.reset is None
        self.reset = (code, remote)

    def writable(self) -> None:
        self.writable_calls += 1

    def _alive(self) -> None:
        assert not self.ended, "called after the end of the stream"
        assert self.reset is None, "called after a reset"


class Requests:
    """A server's `accept`: keeps a recorder per stream."""

    def __init__(self, consume: bool = True) -> None:
        self.consume = consume
        self.all: list[Recorder] = []

    def __call__(self, stream: Stream, block: HeaderBlock, end_stream: bool) -> Recorder:
        recorder = Recorder(stream, self.consume, [block], ended=end_stream)
        self.all.append(recorder)
        return recorder


def take(connection: Connection) -> bytes:
    """What the connection wants to write."""
    data = b"".join(connection.outgoing)
    connection.outgoing.clear()
    return data


def split(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Whole frames: type, flags, stream, payload. A client's preface is skipped."""
    at, out = len(fr.PREFACE) if data.startswith(fr.PREFACE) else 0, []
    while at < len(data):
        word, flags, stream = fr.HEAD.unpack_from(data, at)
        out.append((word & 0xFF, flags, stream, data[at + 9 : at + 9 + (word >> 8)]))
        at += 9 + (word >> 8)
    assert at == len(data)
    return out


def exchange(a: Connection, b: Connection, chunk: int = 0) -> None:
    """Carry bytes both ways until both are silent, whole or in pieces of `chunk` bytes."""
    while a.outgoing or b.outgoing:
        for source, sink in ((a, b), (b, a)):
            data = take(source)
            for at in range(0, len(data), chunk or max(len(data), 1)):
                sink.receive(data[at : at + (chunk or len(data))])


def pair(
    client: Http2Limits | None = None, server: Http2Limits | None = None, consume: bool = True, chunk: int = 0
) -> tuple[ClientConnection, ServerConnection, Requests]:
    """Both ends, greeted."""
    requests = Requests(consume)
    ends = ClientConnection(client or Http2Limits()), ServerConnection(server or Http2Limits(), requests)
    for end in ends:
        end.start()
    exchange(*ends, chunk)
    return *ends, requests


def served(
    limits: Http2Limits | None = None, consume: bool = True, **options: object
) -> tuple[ServerConnection, Requests]:
    """A server that a hand-made client greeted and that has heard the acknowledgement of its settings."""
    requests = Requests(consume)
    server = ServerConnection(limits or Http2Limits(), requests, **options)
    server.start()
    server.receive(fr.PREFACE + fr.settings_frame(()) + fr.SETTINGS_ACK)
    take(server)
    return server, requests


def headers_frame(stream: int, fields: list[Pair], end_stream: bool = False, flags: int = fr.END_HEADERS) -> bytes:
    """HEADERS with these fields."""
    return fr.frame(fr.HEADERS, flags | (fr.END_STREAM if end_stream else 0), stream, encode(fields))


def data_frame(stream: int, data: bytes, end_stream: bool = False) -> bytes:
    """DATA."""
    return fr.frame(fr.DATA, fr.END_STREAM if end_stream else 0, stream, data)
