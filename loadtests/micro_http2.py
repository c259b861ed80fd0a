"""Cost of one unary gRPC call in the HTTP/2 core, in microseconds of CPU, each side alone.

The other side's bytes are recorded first, so nothing but the measured side runs inside the timing. Run as
`python -m loadtests.micro_http2 [--calls N] [--unique]`; `--unique` gives every request its own request id.
"""

from __future__ import annotations

import argparse
import statistics
import time

from transcoding.grpc_framing import MessageReader, frame, trailers_block
from transcoding.http2 import ClientConnection, Http2Limits, ServerConnection, encode
from transcoding.http2.flow import Buffer
from transcoding.http2.headers import HeaderBlock
from transcoding.http2.stream import Stream

REQUEST = encode(
    [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/inference.GRPCInferenceService/ModelInfer"),
        (b":authority", b"127.0.0.1:8001"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"grpc-python/1.85.1 grpc-c/49.0.0 (linux; chttp2)"),
        (b"grpc-accept-encoding", b"identity, deflate, gzip"),
    ]
)
RESPONSE = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
TRAILERS = trailers_block(0, "", ())


class Answer:
    """Answers a whole request with as many bytes."""

    __slots__ = ("reader", "stream")

    def __init__(self, stream: Stream, block: HeaderBlock, end_stream: bool) -> None:
        self.stream = stream
        self.reader = MessageReader(1 << 20)

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None: ...

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        for _, message in self.reader.feed(data):
            self.stream.consumed(len(data))
            self.stream.send_all(RESPONSE, frame(message) + message, TRAILERS)

    def stream_reset(self, code: int, remote: bool) -> None: ...

    def writable(self) -> None: ...


class Call:
    """Waits for one answer."""

    __slots__ = ("done", "message", "reader", "stream")
    stream: Stream

    def __init__(self) -> None:
        self.reader = MessageReader(1 << 20)
        self.done = False

    def headers_received(self, block: HeaderBlock, end_stream: bool) -> None:
        self.done = end_stream

    def data_received(self, data: Buffer, end_stream: bool) -> None:
        ((_, self.message),) = self.reader.feed(data)
        self.stream.consumed(len(data))

    def stream_reset(self, code: int, remote: bool) -> None:
        raise RuntimeError(code)

    def writable(self) -> None: ...


def drain(connection: ClientConnection | ServerConnection) -> bytes:
    """What the connection has to write."""
    data = b"".join(connection.outgoing)
    connection.outgoing.clear()
    return data


def call(client: ClientConnection, message: bytes, unique: int | None) -> Call:
    """Send one request."""
    waiting = Call()
    waiting.stream = client.open(waiting)
    head = (
        REQUEST if unique is None else REQUEST + encode([(b"x-request-id", b"%032x" % (unique * 0x9E3779B97F4A7C15))])
    )
    waiting.stream.send_all(head, frame(message) + message, None)
    return waiting


def record(calls: int, size: int, batch: int, unique: bool) -> tuple[list[bytes], list[bytes]]:
    """What client and server write in `calls` calls, `batch` at a time; the first of each is the greeting."""
    client, server = ClientConnection(Http2Limits()), ServerConnection(Http2Limits(), Answer)
    client.start()
    server.start()
    sent, answered = [drain(client)], [drain(server)]
    server.receive(sent[0])
    client.receive(answered[0])
    sent[0] += drain(client)
    server.receive(sent[0][-9:])
    answered[0] += drain(server)
    for index in range(0, calls, batch):
        waiting = [call(client, b"x" * size, index + n if unique else None) for n in range(batch)]
        sent.append(drain(client))
        server.receive(sent[-1])
        answered.append(drain(server))
        client.receive(answered[-1])
        if not all(one.done for one in waiting):
            raise RuntimeError("a call is not done")
    return sent, answered


def time_server(sent: list[bytes], calls: int) -> float:
    """Receive and respond: microseconds per call."""
    server = ServerConnection(Http2Limits(), Answer)
    server.start()
    server.receive(sent[0])
    begin = time.process_time()
    for data in sent[1:]:
        server.receive(data)
        server.outgoing.clear()
    return (time.process_time() - begin) / calls * 1e6


def time_client(answered: list[bytes], calls: int, size: int, batch: int, unique: bool) -> float:
    """Send and receive: microseconds per call."""
    client = ClientConnection(Http2Limits())
    client.start()
    client.receive(answered[0])
    message, count = b"x" * size, 0
    begin = time.process_time()
    for data in answered[1:]:
        for _ in range(batch):
            call(client, message, count if unique else None)
            count += 1
        client.outgoing.clear()
        client.receive(data)
    return (time.process_time() - begin) / calls * 1e6


def main() -> None:
    """Print medians of five runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--unique", action="store_true")
    options = parser.parse_args()
    for size in (150, 16_000):
        for batch in (1, 16):
            sent, answered = record(options.calls, size, batch, options.unique)
            servers = [time_server(sent, options.calls) for _ in range(5)]
            clients = [time_client(answered, options.calls, size, batch, options.unique) for _ in range(5)]
            print(
                f"message {size:6d} B, {batch:2d} in flight: "
                f"server {statistics.median(servers):5.2f} us, client {statistics.median(clients):5.2f} us"
            )


if __name__ == "__main__":
    main()
