"""Fuzz HTTP/2, HPACK and gRPC framing: valid conversations, mutated.

Any bytes leave the connection open or closed with an error code, never another exception, and memory bounded. Run as
`python -m tests.fuzz.http2 --count 1000000 --seed 1`; a failure prints the seed of its input, and
`--seed S --count 1` repeats it.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

from tests.support.http2 import REQUEST, RESPONSE, TRAILERS
from transcoding.grpc_framing import MessageReader, encode_message, inflate
from transcoding.http2 import ClientConnection, ErrorCode, Http2Limits, ProtocolError, ServerConnection, encode
from transcoding.http2 import frames as fr
from transcoding.http2.flow import Buffer
from transcoding.http2.headers import HeaderBlock, Pair
from transcoding.http2.hpack import Decoder, request_block
from transcoding.http2.stream import Stream
from transcoding.status import GatewayError

LIMITS = Http2Limits(
    max_streams=8,
    header_list_bytes=2000,
    headers=20,
    stream_window=3000,
    connection_window=70_000,
    nuisances=60,
    resets=10,
    continuations=4,
)
# Inputs are cut here: a repeated frame that is repeated again makes megabytes.
LARGEST_INPUT = 32 * 1024
CODES = frozenset(ErrorCode)
EXTRA: list[Pair] = [
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"content-length", b"12"),
    (b"x-id", b"0123456789"),
    (b"authorization", b"secret"),
    (b"grpc-timeout", b"1S"),
]


class App:
    """Answers as chance has it, and checks what it is told."""

    def __init__(self, rng: random.Random, stream: Stream | None = None, ended: bool = False) -> None:
        self.rng = rng
        self.stream = stream
        self.ended = ended
        self.dead = False
        self.mood = rng.randrange(6)
        self.reader = MessageReader(5000)

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        self.told(end_stream)

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        assert len(data) or end_stream
        self.told(end_stream)
        assert self.stream is not None
        if self.mood != 1:
            self.stream.consumed(len(data))
        if self.mood == 2:
            self.stream.reset(ErrorCode.CANCEL)
            self.dead = True

    def told(self, end_stream: bool) -> None:
        assert not self.ended
        assert not self.dead
        self.ended = end_stream

    def stream_reset(self, code: int, remote: bool) -> None:
        assert not self.dead
        self.dead = True

    def writable(self) -> None:
        assert not self.dead

    def act(self) -> None:
        """Answer, or go on with the request."""
        stream, rng = self.stream, self.rng
        if stream is None or not stream.local_open:
            return
        if self.mood == 3:
            stream.send_all(encode(RESPONSE), bytes(rng.choice((0, 10, 5000, 200_000))), encode(TRAILERS))
        elif self.mood == 4:
            stream.send_data(bytes(rng.randrange(3000)), rng.random() < 0.3)


def server_app(rng: random.Random) -> Callable[[Stream, HeaderBlock, bool], App]:
    """A server's `accept`."""

    def accept(stream: Stream, block: HeaderBlock, end_stream: bool) -> App:
        assert block.error is None
        app = App(rng, stream, end_stream)
        if app.mood == 4:
            stream.send_headers(encode(RESPONSE))
        elif app.mood == 5:
            stream.reset(ErrorCode.NO_ERROR)
            app.dead = True
        else:
            app.act()
        return app

    return accept


def header_block(rng: random.Random, fields: list[Pair]) -> bytes:
    """An encoded block, now and then with dynamic table entries, size updates and other spellings."""
    block = encode(fields + rng.sample(EXTRA, rng.randrange(4)))
    if rng.random() < 0.2:
        block += rng.choice((b"\x40\x01a\x01b", b"\xbe", b"\x7e\x01c", b"\x5f\x02ab", b"\x40\x82\x1d\x1f\x81\x1f"))
    return b"\x20" + block if rng.random() < 0.1 else block


def headers(rng: random.Random, stream: int, fields: list[Pair]) -> bytes:
    """HEADERS, whole, padded, or with CONTINUATION."""
    block, ended = header_block(rng, fields), rng.random() < 0.4
    style = rng.randrange(8)
    if style == 0:
        cut = rng.randrange(len(block) + 1)
        more = fr.frame(fr.CONTINUATION, fr.END_HEADERS, stream, block[cut:])
        return fr.frame(fr.HEADERS, int(ended), stream, block[:cut]) + more
    if style == 1:
        return fr.frame(fr.HEADERS, fr.END_HEADERS | fr.PADDED | ended, stream, b"\x03" + block + bytes(3))
    if style == 2:
        return fr.frame(fr.HEADERS, fr.END_HEADERS | fr.WITH_PRIORITY | ended, stream, bytes(5) + block)
    return fr.frame(fr.HEADERS, fr.END_HEADERS | ended, stream, block)


def sent(rng: random.Random, client: bool) -> list[bytes]:
    """The frames of one peer; `client` says which."""
    settings = rng.choice(([], [(4, 0)], [(4, 2**31 - 1)], [(3, 1), (5, 20_000)], [(1, 0), (0xBEEF, 9)]))
    out = [fr.settings_frame(settings)]
    if rng.random() < 0.8:
        out.append(fr.SETTINGS_ACK)
    following = 1
    for _ in range(rng.randrange(1, 12)):
        stream = rng.randrange(1, following + (2 if following == 1 or rng.random() < 0.03 else 0), 2)
        size = rng.choice((0, 1, 5, 12, 100, 1500, 2999))
        what = rng.randrange(12)
        if what < 4:
            out.append(headers(rng, following, REQUEST if client else RESPONSE))
            following += 2
        elif what < 7:
            out.append(fr.frame(fr.DATA, rng.choice((0, 0, 1)), stream, encode_message([bytes(size)])))
        elif what == 7:
            out.append(headers(rng, stream, TRAILERS))
        else:
            out.append(
                rng.choice(
                    (
                        fr.window_update(rng.choice((0, stream)), rng.choice((1, 1000, 2**31 - 1, 0))),
                        fr.rst_stream(stream, rng.choice((0, 7, 8, 99))),
                        fr.ping_frame(b"12345678", rng.random() < 0.5),
                        fr.frame(fr.PRIORITY, 0, stream, bytes(5)),
                        fr.settings_frame([(4, rng.choice((0, 10, 65_535, 2**31 - 1)))]),
                        fr.goaway_frame(rng.choice((0, 1, 2**31 - 1)), 0),
                        fr.frame(fr.DATA, fr.PADDED, stream, b"\x02abc\0\0"),
                        fr.frame(rng.randrange(10, 256), rng.randrange(256), stream, b"x"),
                    )
                )
            )
    return out


def mutate_frames(rng: random.Random, frames: list[bytes]) -> None:
    """Drop, repeat, swap or cut whole frames, or change a field of a frame's head."""
    for _ in range(rng.randrange(3)):
        at, other = rng.randrange(len(frames)), rng.randrange(len(frames))
        what = rng.randrange(5)
        if what == 0:
            frames.insert(at, frames[other])
        elif what == 1:
            frames[at], frames[other] = frames[other], frames[at]
        elif what == 2:
            frames[at] = frames[at] * rng.choice((2, 3, 70))
        elif what == 3 and len(frames) > 1:
            del frames[at]
        elif frames[at]:
            head = bytearray(frames[at])
            head[rng.randrange(min(9, len(head)))] = rng.choice((0, 1, 2, 4, 5, 8, 9, 0x25, 0x7F, 0xFF))
            frames[at] = bytes(head)


def mutate_bytes(rng: random.Random, data: bytearray) -> None:
    """Flip, insert, delete, cut."""
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 5, 20))):
        at = rng.randrange(len(data)) if data else 0
        what = rng.randrange(4)
        if what == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at:at] = rng.randbytes(rng.randrange(1, 12))
        elif what == 2:
            del data[at : at + rng.randrange(1, 12)]
        elif rng.random() < 0.1:
            del data[at:]


def feed(rng: random.Random, connection: ClientConnection | ServerConnection, data: bytes) -> int:
    """Give the bytes in pieces; gives how many bytes the connection wrote."""
    at, wrote, largest = 0, 0, rng.choice((1, 10, 100, 10_000))
    while at < len(data):
        size = rng.randint(1, largest)
        connection.receive(data[at : at + size])
        at += size
        wrote += sum(map(len, connection.outgoing))
        connection.outgoing.clear()
        for stream in [*connection.streams.values()]:
            receiver = stream.receiver
            if isinstance(receiver, App) and rng.random() < 0.2:
                receiver.act()
        check(connection)
    return wrote


def check(connection: ClientConnection | ServerConnection) -> None:
    """Bounded, and every byte of DATA accounted for."""
    limits = connection.limits
    assert len(connection._held) <= limits.max_frame + 9
    assert connection._block is None or len(connection._block.fragment) <= connection._decoder.block_bytes
    assert len(connection._resets) <= 512
    assert connection.closed or connection.error is None
    if connection.closed:
        assert connection.error is not None
        assert connection.error[0] in CODES
        assert connection.streams == {}
        return
    unread = 0
    for stream in connection.streams.values():
        mine = connection.stream_window - stream.room - stream.owed
        # What the peer sent before it knew a smaller window stays unread beyond it (RFC 9113 §6.9.2).
        assert 0 <= mine <= max(connection.stream_window, fr.DEFAULT_WINDOW)
        assert stream.owed >= 0
        assert not stream.dead
        unread += mine
    window = connection.granted - connection.received
    assert window >= 0
    if isinstance(connection, ServerConnection):
        assert len(connection.streams) <= limits.max_streams
        assert window + unread + connection.owed == limits.connection_window


def fuzz_server(rng: random.Random) -> None:
    """What a hostile client may send."""
    server = ServerConnection(LIMITS, server_app(rng))
    server.start()
    frames = sent(rng, client=True)
    mutate_frames(rng, frames)
    data = bytearray(b"".join(frames)[:LARGEST_INPUT])
    mutate_bytes(rng, data)
    preface = bytearray(fr.PREFACE)
    if rng.random() < 0.02:
        mutate_bytes(rng, preface)
    feed(rng, server, bytes(preface + data))
    server.connection_lost()
    assert server.streams == {}


def fuzz_client(rng: random.Random) -> None:
    """What a hostile server may send."""
    client = ClientConnection(LIMITS)
    client.start()
    apps = []
    for _ in range(rng.randrange(6)):
        app = App(rng)
        app.stream = client.open(app)
        apps.append(app)
        if rng.random() < 0.9:
            app.stream.send_headers(encode(REQUEST), rng.random() < 0.5)
    frames = sent(rng, client=False)
    mutate_frames(rng, frames)
    data = bytearray(b"".join(frames)[:LARGEST_INPUT])
    mutate_bytes(rng, data)
    feed(rng, client, bytes(data))
    client.connection_lost()
    assert client.streams == {}


def fuzz_hpack(rng: random.Random) -> None:
    """Header blocks of one connection."""
    decoder = Decoder(request_block, 500, 10)
    for _ in range(rng.randrange(1, 5)):
        block = bytearray(header_block(rng, REQUEST))
        mutate_bytes(rng, block)
        code, decoded = ErrorCode.NO_ERROR, None
        try:
            decoded = decoder.decode(bytes(block))
        except ProtocolError as error:
            code = error.code
        if decoded is None:
            assert code == ErrorCode.COMPRESSION_ERROR
            return
        assert len(decoded.fields) <= 10
        assert sum(len(name) + len(value) + 32 for name, value in decoded.fields) <= 500
        if rng.random() < 0.3:
            decoder.acknowledged()


def fuzz_framing(rng: random.Random) -> None:
    """gRPC messages, and their compression."""
    data = bytearray(b"".join(encode_message([bytes(rng.choice((0, 3, 200)))]) for _ in range(rng.randrange(4))))
    mutate_bytes(rng, data)
    reader, at = MessageReader(250), 0
    try:
        while at < len(data):
            size = rng.randint(1, 100)
            for flags, message in reader.feed(bytes(data[at : at + size])):
                assert len(message) <= 250
                assert flags in (0, 1)
                assert len(inflate(message, rng.choice(("gzip", "deflate", "identity")), 300)) <= 300
            assert len(reader._held) <= 255
            at += size
        reader.finish()
    except GatewayError:
        return


TARGETS: dict[str, Callable[[random.Random], None]] = {
    "server": fuzz_server,
    "client": fuzz_client,
    "hpack": fuzz_hpack,
    "framing": fuzz_framing,
}


def main() -> None:
    """Run every target `--count` times in all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    options = parser.parse_args()
    targets = [(name, TARGETS[name]) for name in options.target or TARGETS]
    begin = time.monotonic()
    for number in range(options.seed, options.seed + options.count):
        name, target = targets[number % len(targets)]
        try:
            target(random.Random(number))
        except BaseException:
            print(f"failed: --target {name} --count 1 --seed {number}")
            raise
    print(f"{options.count} inputs in {time.monotonic() - begin:.1f} s, no failure")


if __name__ == "__main__":
    main()
