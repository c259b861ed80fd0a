"""Clients below the level at which clients are polite: sockets, and the bytes of requests."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

TIMEOUT = 10.0


@dataclass
class Answer:
    """One HTTP/1.1 response. Field names are in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def error(self) -> str:
        """The text of OIP's error body."""
        text: str = json.loads(self.body)["error"]
        return text


class RawClient:
    """A TCP connection. Reading gives up after `TIMEOUT` seconds with `TimeoutError`."""

    def __init__(self, address: str, receive_buffer: int = 0, timeout: float = TIMEOUT) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.socket()
        self.socket.settimeout(timeout)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect((host, int(port)))
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Everything, or an `OSError` when the other end has closed."""
        self.socket.sendall(data)

    def send_what_fits(self, pieces: Iterable[bytes]) -> int:
        """Send until the other end closes or stops reading for a while; the number of bytes that left."""
        sent = 0
        self.socket.settimeout(2.0)
        with contextlib.suppress(OSError):
            for piece in pieces:
                self.socket.sendall(piece)
                sent += len(piece)
        self.socket.settimeout(TIMEOUT)
        return sent

    def receive(self) -> bytes:
        """What comes next, b"" at the end."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        return self.socket.recv(1 << 16)

    def rest(self) -> bytes:
        """Everything up to the end of the connection, be it FIN or RST."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := self.receive():
                data += piece
        return data

    def until(self, end: bytes) -> bytes:
        """What comes, up to and with `end`."""
        data, self._unread = self._unread, b""
        while end not in data:
            piece = self.receive()
            assert piece, f"closed after {data!r}"
            data += piece
        data, separator, self._unread = data.partition(end)
        return data + separator

    def exactly(self, size: int) -> bytes:
        data, self._unread = self._unread, b""
        while len(data) < size:
            piece = self.receive()
            assert piece, f"closed after {len(data)} of {size} bytes"
            data += piece
        self._unread = data[size:]
        return data[:size]

    def answer(self, head: bool = False) -> Answer:
        """One response; `head` if it answers HEAD. Informational ones are answers too."""
        line, *fields = self.until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in fields)}
        answer = Answer(int(line.split()[1]), headers)
        if headers.get("transfer-encoding") == "chunked":
            answer.body = self._chunks()
        elif not head and answer.status >= 200:
            answer.body = self.exactly(int(headers["content-length"]))
        return answer

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.until(b"\r\n"), 16):
            body += self.exactly(size)
            self.until(b"\r\n")
        self.until(b"\r\n")
        return body

    def ask(self, request: bytes) -> Answer:
        self.send(request)
        return self.answer()

    def closed(self, within: float = TIMEOUT) -> bool:
        """Does the other end close within so many seconds? What it still sends is dropped."""
        end = time.monotonic() + within
        try:
            while True:
                self.socket.settimeout(max(0.001, end - time.monotonic()))
                if not self.socket.recv(1 << 16):
                    return True
        except TimeoutError:
            return False
        except ConnectionError:
            return True


LIVE = "/v2/health/live"
INFER = "/v2/models/echo/infer"
BODY = json.dumps({"inputs": [{"name": "IN", "datatype": "INT32", "shape": [2], "data": [1, 2]}]}).encode()


def get(path: str = LIVE, *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: gateway", *fields, "", ""]).encode("latin-1")


def post(body: bytes = BODY, path: str = INFER, *fields: str, length: int | None = None) -> bytes:
    """A request with a body; `length` is what it says of it."""
    size = len(body) if length is None else length
    return get(path, f"Content-Length: {size}", *fields, method="POST") + body


def chunked(*pieces: bytes, path: str = INFER, fields: tuple[str, ...] = ()) -> bytes:
    """A request whose body comes in chunks."""
    head = get(path, "Transfer-Encoding: chunked", *fields, method="POST")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
