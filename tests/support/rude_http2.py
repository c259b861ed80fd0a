"""An HTTP/2 client that does not follow rules: it sends the frames that a test gives it, and reads what comes back."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from dataclasses import dataclass, field

from hpack import Decoder

from tests.support.raw_client import BODY, INFER, RawClient
from transcoding.http2 import encode
from transcoding.http2 import frames as fr
from transcoding.http2.headers import Pair

LARGE_WINDOW = 1 << 30


@dataclass
class Outcome:
    """What became of a stream: the header blocks and the body that came, whether it ended, and a reset's code."""

    headers: list[dict[str, str]] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        """Of the first block that is not informational."""
        return next(int(each[":status"]) for each in self.headers if not each[":status"].startswith("1"))

    @property
    def grpc_status(self) -> int:
        return int(self.headers[-1]["grpc-status"])

    @property
    def error(self) -> str:
        text: str = json.loads(self.body)["error"]
        return text


class RudeHttp2(RawClient):
    """An HTTP/2 connection in cleartext. Unless `greet` is False it begins with the preface, `settings` and an
    acknowledgement; unless `answer_pings` is False it answers PING."""

    def __init__(
        self,
        address: str,
        settings: dict[int, int] | None = None,
        greet: bool = True,
        answer_pings: bool = True,
        receive_buffer: int = 0,
    ) -> None:
        super().__init__(address, receive_buffer)
        self._begin(settings or {}, greet, answer_pings)

    @classmethod
    def over(cls, connected: socket.socket) -> RudeHttp2:
        """On a socket that is connected, and secured perhaps."""
        client = cls.__new__(cls)
        client.socket = connected
        client._unread = b""
        client._begin({}, True, True)
        return client

    def _begin(self, settings: dict[int, int], greet: bool, answer_pings: bool) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.goaway: tuple[int, int] | None = None
        self.goaways: list[tuple[int, int]] = []
        self._decoder = Decoder()
        self._answer_pings = answer_pings
        self._buffer = b""
        self.acknowledged_settings = 0
        self.pongs = 0
        if greet:
            self.send(fr.PREFACE + fr.settings_frame(settings.items()) + fr.SETTINGS_ACK)

    def outcome(self, stream: int) -> Outcome:
        return self.outcomes.setdefault(stream, Outcome())

    def read_frame(self) -> int | None:
        """Read one frame and note what it says; its type, None at the end of the connection."""
        try:
            head = self._take(9)
            word, flags, stream = fr.HEAD.unpack(head)
            payload = self._take(word >> 8)
        except (EOFError, ConnectionError):
            return None
        self._note(word & 0xFF, flags, stream, payload)
        return int(word & 0xFF)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.receive()
            if not data:
                raise EOFError
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        outcome = self.outcome(stream)
        if kind == fr.HEADERS:
            outcome.headers.append({str(name): str(value) for name, value in self._decoder.decode(payload)})
        elif kind == fr.DATA:
            outcome.body += payload
        elif kind == fr.RST_STREAM:
            outcome.reset = struct.unpack(">I", payload)[0]
        elif kind == fr.GOAWAY:
            last, code = struct.unpack_from(">II", payload)
            self.goaway = (code, last)
            self.goaways.append(self.goaway)
        elif kind == fr.SETTINGS and flags & fr.ACK:
            self.acknowledged_settings += 1
        elif kind == fr.PING and flags & fr.ACK:
            self.pongs += 1
        elif kind == fr.PING and self._answer_pings:
            with contextlib.suppress(OSError):
                self.send(fr.ping_frame(payload, ack=True))
        if kind in (fr.HEADERS, fr.DATA) and flags & fr.END_STREAM:
            outcome.ended = True

    def finish(self, stream: int) -> Outcome:
        """Read until the stream has ended, was reset, or the connection is over."""
        outcome = self.outcome(stream)
        while not outcome.ended and outcome.reset is None and self.read_frame() is not None:
            pass
        return outcome

    def finish_all(self) -> None:
        """Read until the end of the connection."""
        while self.read_frame() is not None:
            pass

    def goaway_code(self) -> int | None:
        """The code of the last GOAWAY before the end of the connection."""
        self.finish_all()
        return None if self.goaway is None else self.goaway[0]


def request_headers(path: str = INFER, *more: Pair, method: str = "POST") -> list[Pair]:
    """The header list of a REST request."""
    return [
        (b":method", method.encode()),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"gateway"),
        *more,
    ]


def grpc_headers(
    method: str = "ModelInfer", *more: Pair, service: str = "inference.GRPCInferenceService"
) -> list[Pair]:
    """The header list of a gRPC call."""
    return request_headers(f"/{service}/{method}", (b"te", b"trailers"), (b"content-type", b"application/grpc"), *more)


def headers(stream: int, fields: list[Pair], end: bool = False) -> bytes:
    """A HEADERS frame that is a whole block."""
    return fr.frame(fr.HEADERS, fr.END_HEADERS | (fr.END_STREAM if end else 0), stream, encode(fields))


def data(stream: int, payload: bytes, end: bool = False) -> bytes:
    """A DATA frame."""
    return fr.frame(fr.DATA, fr.END_STREAM if end else 0, stream, payload)


def rest_request(stream: int, body: bytes = BODY, path: str = INFER) -> bytes:
    """A whole REST request in two frames."""
    return headers(stream, request_headers(path)) + data(stream, body, True)


def message(payload: bytes, compressed: bool = False) -> bytes:
    """A gRPC message with its prefix."""
    return struct.pack(">BI", compressed, len(payload)) + payload
