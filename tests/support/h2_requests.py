"""An HTTP/2 client on python-hyper's `h2` and a blocking socket, which can do what well-mannered clients do not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from tests.support.h2_peer import H2Peer, Seen

Pair = tuple[bytes, bytes]
NO_ERROR, CANCEL = 0, 8


class H2Client:
    """One connection to `port` of this machine. `window` is the initial window of each stream, in bytes."""

    def __init__(self, port: int, window: int | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = H2Peer(client=True)
        if window is not None:
            self.peer.connection.update_settings({4: window})
        self._next = 1
        self.flush()

    def request(
        self, path: str, body: bytes = b"", headers: Sequence[Pair] = (), method: str = "POST", end: bool = True
    ) -> int:
        """Send a request; `end` False leaves its body unfinished. Returns the stream."""
        stream, self._next = self._next, self._next + 2
        head = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"gw")]
        self.peer.connection.send_headers(stream, [*head, *headers], end_stream=end and not body)
        if body and end:
            self.peer.send_body(stream, body, None)
        elif body:
            self.peer.connection.send_data(stream, body)
        self.flush()
        return stream

    def flush(self) -> None:
        self.socket.sendall(self.peer.take())

    def reset(self, stream: int, code: int = CANCEL) -> None:
        self.peer.connection.reset_stream(stream, code)
        self.flush()

    def pump(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        """Read and answer until `done`. Raises ConnectionError at the end of the connection."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "too late"
            self.socket.settimeout(0.05)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            finally:
                self.socket.settimeout(20)
            if not data:
                raise ConnectionError("closed")
            self.peer.receive(data)
            self.flush()

    def response(self, stream: int) -> Seen:
        """What came back on a stream, when it has ended."""
        seen = self.peer.streams[stream]
        self.pump(lambda: seen.ended or seen.reset is not None)
        return seen

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> H2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
