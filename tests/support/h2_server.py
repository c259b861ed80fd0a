"""A gRPC server on python-hyper's `h2`, whose answer to each ModelInfer a test writes: refusals, GOAWAY, odd trailers.

It answers `ServerLive` and `RepositoryIndex` properly, so that a gateway takes it for a Triton with the model `m`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from h2.settings import SettingCodes
from tritonclient.grpc import service_pb2

from tests.support.h2_peer import H2Peer
from transcoding.grpc_framing import encode_message

Pair = tuple[bytes, bytes]
HEAD: list[Pair] = [(b":status", b"200"), (b"content-type", b"application/grpc")]
OK: list[Pair] = [(b"grpc-status", b"0")]
NO_ERROR, REFUSED_STREAM, CANCEL = 0, 7, 8

_messages: Any = service_pb2
LIVE = _messages.ServerLiveResponse(live=True).SerializeToString()
INDEX = _messages.RepositoryIndexResponse(
    models=[_messages.RepositoryIndexResponse.ModelIndex(name="m", version="1", state="READY")]
).SerializeToString()


class H2Connection(asyncio.Protocol):
    """One connection. `open` are the ModelInfer streams that wait for their answer, by id, with their message."""

    def __init__(self, server: H2Server) -> None:
        self.server = server
        self.peer = H2Peer(client=False)
        self.open: dict[int, bytes] = {}
        self._transport: Any = None
        self._seen: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.peer.connection.update_settings(self.server.settings)
        self.peer.acknowledges = self.server.acknowledges
        self.server.connections.append(self)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.peer.receive(data)
        for stream, seen in list(self.peer.streams.items()):
            if seen.reset is not None and self.open.pop(stream, None) is not None:
                self.server.cancelled.append(stream)
            elif seen.ended and stream not in self._seen:
                self._seen.add(stream)
                self._request(stream, bytes(seen.body), dict(seen.headers[0]))
        self.flush()

    def _request(self, stream: int, body: bytes, headers: dict[bytes, bytes]) -> None:
        method = headers[b":path"].rpartition(b"/")[2]
        if method == b"ServerLive":
            self.reply(stream, LIVE)
        elif method == b"RepositoryIndex":
            self.reply(stream, INDEX)
        else:
            self.open[stream] = body
            self.server.most_at_once = max(self.server.most_at_once, len(self.open))
            self.server.requests.append(body)
            self.server.answer(self, stream, body[5:])

    def reply(self, stream: int, message: bytes, head: Sequence[Pair] = HEAD, trailers: Sequence[Pair] = OK) -> None:
        """A whole answer."""
        self.open.pop(stream, None)
        self.peer.connection.send_headers(stream, list(head))
        self.peer.send_body(stream, encode_message((message,)), list(trailers))
        self.flush()

    def end(self, stream: int, headers: Sequence[Pair]) -> None:
        """One block that is headers and trailers at once."""
        self.open.pop(stream, None)
        self.peer.connection.send_headers(stream, list(headers), end_stream=True)
        self.flush()

    def reset(self, stream: int, code: int) -> None:
        self.open.pop(stream, None)
        self.peer.connection.reset_stream(stream, code)
        self.flush()

    def goaway(self, last: int, code: int = NO_ERROR) -> None:
        """GOAWAY that says that streams above `last` were not processed; the others go on."""
        frame = b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + code.to_bytes(4, "big")
        self.flush()  # h2 ends the connection with its own GOAWAY, so this one is written by hand
        self._transport.write(frame)
        for stream in [each for each in self.open if each > last]:
            del self.open[stream]

    def raw(self, *frames: bytes) -> None:
        """Frames that h2 does not know of, after those that it made."""
        self.flush()
        self._transport.write(b"".join(frames))

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        if self._transport is not None:
            self._transport.write(self.peer.take())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None


Answer = Callable[[H2Connection, int, bytes], None]


def echo(connection: H2Connection, stream: int, message: bytes) -> None:
    connection.reply(stream, message)


class H2Server:
    """Listens on a thread of its own; `settings` are SETTINGS beside h2's own. Windows open again as DATA comes, if it
    `acknowledges`."""

    def __init__(
        self, answer: Answer = echo, settings: dict[SettingCodes, int] | None = None, acknowledges: bool = True
    ) -> None:
        self.answer = answer
        self.acknowledges = acknowledges
        self.settings = settings or {}
        self.connections: list[H2Connection] = []
        self.requests: list[bytes] = []
        self.cancelled: list[int] = []
        self.most_at_once = 0
        self.loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def later(self, do: Callable[[], object]) -> None:
        """Do it soon, on the server's thread."""
        self.loop.call_soon_threadsafe(do)

    async def start(self) -> None:
        self._server = await self.loop.create_server(lambda: H2Connection(self), "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            if connection._transport is not None:
                connection._transport.abort()
        await asyncio.sleep(0)


@contextmanager
def h2_server(
    answer: Answer = echo, settings: dict[SettingCodes, int] | None = None, acknowledges: bool = True
) -> Iterator[H2Server]:
    """The server, while it runs. `answer` is called on its thread."""
    server = H2Server(answer, settings, acknowledges)
    thread = threading.Thread(target=server.loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), server.loop).result(10)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), server.loop).result(10)
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join(10)
        server.loop.close()
