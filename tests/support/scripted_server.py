"""A server on a thread that answers each HTTP/1.1 request with the same bytes, for tests of load and benchmarks."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Handler(socketserver.StreamRequestHandler):
    server: ScriptedServer

    def handle(self) -> None:
        while head := self._head():
            lengths = [line.split(b":")[1] for line in head if line.lower().startswith(b"content-length:")]
            self.rfile.read(int(lengths[0]) if lengths else 0)
            self.server.requests += 1
            self.wfile.write(self.server.reply)
            if self.server.closes:
                return

    def _head(self) -> list[bytes]:
        lines: list[bytes] = []
        while (line := self.rfile.readline().strip()) or not lines:
            if not line:
                return []
            lines.append(line)
        return lines


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Listens on `port`; counts `requests`; with `closes`, each connection ends after one answer."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, reply: bytes, closes: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.closes, self.requests = reply, closes, 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])


def http_reply(body: bytes, status: str = "200 OK") -> bytes:
    """An HTTP/1.1 reply with a JSON body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def scripted_server(reply: bytes, closes: bool = False) -> Iterator[ScriptedServer]:
    """A running server."""
    with ScriptedServer(reply, closes) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
