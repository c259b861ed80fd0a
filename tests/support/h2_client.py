"""An HTTP/2 client on a blocking socket, frame by frame, made from the `h2` library: what grpcio never does."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.settings import SettingCodes

Headers = Iterable[tuple[str, str]]


def framed(message: bytes, flags: int = 0) -> bytes:
    """A gRPC message with its prefix."""
    return struct.pack(">BI", flags, len(message)) + message


class Call:
    """What came on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.data = bytearray()
        self.owed = 0  # bytes that were not credited
        self.trailers: dict[str, str] = {}
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> str | None:
        """grpc-status, of trailers or of a trailers-only answer."""
        return self.trailers.get("grpc-status", self.headers.get("grpc-status"))

    @property
    def message(self) -> str | None:
        return self.trailers.get("grpc-message", self.headers.get("grpc-message"))

    @property
    def messages(self) -> list[bytes]:
        """The complete gRPC messages so far."""
        found, at = [], 0
        while at + 5 <= len(self.data):
            size = int.from_bytes(self.data[at + 1 : at + 5], "big")
            if at + 5 + size > len(self.data):
                break
            found.append(bytes(self.data[at + 5 : at + 5 + size]))
            at += 5 + size
        return found


class H2Client:
    """`window` is what each stream may receive unasked; with `credit`, what arrives is given back."""

    def __init__(self, port: int, window: int = 65_535, credit: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.calls: dict[int, Call] = {}
        self.credit = credit
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def grpc(self, path: str, headers: Headers = (), end: bool = False) -> int:
        """Open a gRPC call; its stream id."""
        return self.open(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "gateway"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                *headers,
            ],
            end,
        )

    def open(self, headers: Headers, end: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.calls[stream] = Call()
        self.h2.send_headers(stream, list(headers), end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, end: bool = False) -> None:
        """DATA in frames as large as the peer takes, waiting for its windows."""
        while len(data) > (room := self._room(stream)):
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self.flush()
            while not self._room(stream):
                self.receive()
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def _room(self, stream: int) -> int:
        return min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)

    def reset(self, stream: int) -> None:
        self.h2.reset_stream(stream, 8)
        self.flush()

    def receive(self) -> None:
        """Take one read from the socket. Raises EOFError at its end."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event: Event) -> None:
        call = self.calls.get(getattr(event, "stream_id", 0) or 0, Call())
        if isinstance(event, ResponseReceived):
            call.headers = dict(event.headers)
        elif isinstance(event, DataReceived):
            call.data += event.data
            call.owed += event.flow_controlled_length
            if self.credit:
                self._give(event.stream_id, call)
        elif isinstance(event, TrailersReceived):
            call.trailers = dict(event.headers)
        elif isinstance(event, StreamEnded):
            call.ended = True
        elif isinstance(event, StreamReset):
            call.reset = int(event.error_code)

    def finish(self, stream: int) -> Call:
        """Receive until the stream is over."""
        call = self.calls[stream]
        while not call.ended and call.reset is None:
            self.receive()
        return call

    def quiet(self, seconds: float) -> None:
        """Receive what comes within some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                self.receive()
            except TimeoutError:
                break
            finally:
                self.socket.settimeout(10)

    def give(self, stream: int) -> None:
        """Credit what arrived."""
        self._give(stream, self.calls[stream])
        self.flush()

    def _give(self, stream: int, call: Call) -> None:
        self.h2.acknowledge_received_data(call.owed, stream)
        call.owed = 0


@contextmanager
def h2_client(port: int, **options: Any) -> Iterator[H2Client]:
    """A client, while it is connected."""
    client = H2Client(port, **options)
    try:
        yield client
    finally:
        client.socket.close()
