"""A listener without sockets, on an event loop whose clock stands still until a test moves it.

with an_ingress(limits=Limits(pipelined=2)) as ingress:
    client = ingress.http1()
    assert client.ask(get()).status == 200
    ingress.wait(10.0)

At its end every connection is lost, and nothing may be held for any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from config.schema import Deadlines, Limits
from config.schema import Listener as ListenerConfig
from gateway.ingress.edge import Edge
from gateway.ingress.exchange import EVENTS, Request, Response
from gateway.ingress.grpc_service import GrpcService
from gateway.ingress.http1 import Http1
from gateway.ingress.http2 import Http2
from gateway.ingress.linger import Linger
from gateway.ingress.listener import Listener
from gateway.ingress.peer import Peer
from gateway.telemetry.metrics import Metrics
from tests.support.raw_client import RawClient
from tests.support.rude_http2 import RudeHttp2
from transcoding.status import GatewayError

ADDRESS = "192.0.2.1"
TURNS = 12


class MemoryTransport:
    """A connection's end: keeps what is written, and gives what is `sent` to whoever is the protocol, while it reads.

    `unsent` is what it says of its write buffer. What was lost cannot be lost again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, **extra: object) -> None:
        self.protocol: Any = None
        self.written = bytearray()
        self.writes = 0
        self.unsent = 0
        self.reading = self.open = True
        self.aborted = self.ended = self.lost = False
        self.extra = {"peername": (ADDRESS, 4711)} | extra
        self._loop = loop
        self._inbox = bytearray()

    # what the other end does

    def send(self, data: bytes) -> None:
        """Bytes that come in one read, and wait if nobody reads."""
        self._inbox += data
        self._deliver()

    def _deliver(self) -> None:
        while self._inbox and self.reading and self.open:
            piece = bytes(self._inbox)
            self._inbox.clear()
            taken = feed(self.protocol, piece)
            self._inbox[:0] = piece[taken:]

    def end(self) -> None:
        """The other end sends no more."""
        if not self.protocol.eof_received():
            self.close()

    def lose(self) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost, self.open = True, False
            self.protocol.connection_lost(None)

    def stall(self, unsent: int) -> None:
        """The other end does not read: so many bytes wait for it."""
        self.unsent = unsent
        self.protocol.pause_writing()

    def flow(self) -> None:
        """It reads again."""
        self.unsent = 0
        self.protocol.resume_writing()

    # what a protocol asks of a transport

    def write(self, data: Any) -> None:
        self.writes += 1
        if not self.lost:
            self.written += data

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def close(self) -> None:
        self.open = False
        if not self.unsent:
            self._loop.call_soon(self.lose)

    def abort(self) -> None:
        self.open, self.aborted, self.unsent = False, True, 0
        self._loop.call_soon(self.lose)

    def is_closing(self) -> bool:
        return not self.open

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        if not self.reading:
            self.reading = True
            self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.extra.get(name, default)


def feed(protocol: Any, piece: bytes) -> int:
    """Give a piece to whatever reads; returns how much of it was taken."""
    if not hasattr(protocol, "get_buffer"):
        protocol.data_received(piece)
        return len(piece)
    buffer = protocol.get_buffer(len(piece))
    size = min(len(buffer), len(piece))
    buffer[:size] = piece[:size]
    buffer.release()
    protocol.buffer_updated(size)
    return size


class StillClock(asyncio.SelectorEventLoop):
    """An event loop on which time passes only when `now` is set."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Service:
    """Stands for REST: notes requests and answers each with `answer`, at once or, while `holding`, at `release`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Response] = lambda request: Response(200, (b"{}",))
        self.holding = False
        self.cancelled = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def serve(self, request: Request, listener: Listener, peer: Peer) -> Response:
        self.requests.append(request)
        if self.holding:
            released = listener.loop.create_future()
            self._waiting.append(released)
            try:
                await released
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return self.answer(request)

    def release(self) -> None:
        """Answer what is held, and hold no more."""
        self.holding = False
        for each in self._waiting:
            if not each.done():
                each.set_result(None)

    @property
    def targets(self) -> list[str]:
        return [request.target.decode() for request in self.requests]

    @property
    def bodies(self) -> list[bytes]:
        return [bytes(request.body) for request in self.requests]


class Source:
    """A streamed answer whose pieces come when a test gives them; None ends it and an error breaks it off.

    It is no generator, which the loop would close if nobody else did.
    """

    def __init__(self, ingress: Ingress) -> None:
        self.taken = 0
        self.closed = False
        self._ingress = ingress
        self._pieces: asyncio.Queue[bytes | GatewayError | None] = asyncio.Queue()
        stream: Any = self
        ingress.service.answer = lambda request: Response(200, content_type=EVENTS, stream=stream)

    def give(self, *pieces: bytes | GatewayError | None) -> None:
        for piece in pieces:
            self._pieces.put_nowait(piece)
        self._ingress.settle()

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._pieces.get()
        if isinstance(piece, GatewayError):
            raise piece
        if piece is None:
            raise StopAsyncIteration
        self.taken += 1
        return piece

    async def aclose(self) -> None:
        self.closed = True


def no_grpc(loop: asyncio.AbstractEventLoop) -> GrpcService:
    """What a listener has for gRPC where nobody asks for it."""
    return GrpcService(SimpleNamespace(loop=loop))  # type: ignore[arg-type]


class Ingress:
    """One listener, its service, and the clients that a test connects to it."""

    def __init__(self, limits: Limits, deadlines: Deadlines) -> None:
        self.loop = StillClock()
        self.metrics = Metrics()
        self.service = Service()
        self._transports: list[MemoryTransport] = []
        config = ListenerConfig("127.0.0.1:1", "test", limits=limits, deadlines=deadlines)

        async def make() -> Listener:
            return Listener(config, self.service, no_grpc(self.loop), self.metrics)

        self.listener = self.loop.run_until_complete(make())

    def settle(self, turns: int = TURNS) -> None:
        """Let the loop turn."""

        async def turn() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    def wait(self, seconds: float) -> None:
        """Time passes, and the listener looks who is late."""
        self.loop.now += seconds
        self.listener.sweep()
        self.settle()

    def transport(self, **extra: object) -> MemoryTransport:
        """A new connection's, which nobody speaks on yet."""
        transport = MemoryTransport(self.loop, **extra)
        self._transports.append(transport)
        return transport

    def accept(self, alpn: str | None = None, address: str = ADDRESS) -> MemoryTransport:
        """A connection as the edge gets it, in cleartext or, with `alpn`, after TLS."""
        tls = None if alpn is None else SimpleNamespace(selected_alpn_protocol=lambda: alpn)
        transport = self.transport(ssl_object=tls, peername=(address, 4711))
        transport.protocol = Edge(self.listener)
        transport.protocol.connection_made(transport)
        self.settle()
        return transport

    def http1(self) -> Http1Client:
        """A client that is known to speak HTTP/1.1."""
        transport = self.transport()
        transport.protocol = Http1(self.listener, transport, Peer(ADDRESS))  # type: ignore[arg-type]
        assert self.listener.admit(transport.protocol, ADDRESS)
        return Http1Client(self, transport)

    def http2(
        self, settings: dict[int, int] | None = None, greet: bool = True, answer_pings: bool = True
    ) -> Http2Client:
        """The same for HTTP/2."""
        transport = self.transport()
        transport.protocol = Http2(self.listener, transport, Peer(ADDRESS))  # type: ignore[arg-type]
        assert self.listener.admit(transport.protocol, ADDRESS)
        return Http2Client(self, transport, settings or {}, greet, answer_pings)

    def counted(self, family: str, *labels: str) -> float:
        return self.metrics.counter(family, labels).value

    def lose_all(self) -> None:
        """All clients go."""
        for transport in self._transports:
            transport.lose()
        self.settle()

    def assert_calm(self) -> None:
        """Nothing is left of any client."""
        listener = self.listener
        assert (listener.buffered, listener.requests_in_flight) == (0, 0)
        assert (listener.connections, listener.addresses) == (set(), {})
        assert not asyncio.all_tasks(self.loop)


@contextmanager
def an_ingress(limits: Limits = Limits(), deadlines: Deadlines = Deadlines()) -> Iterator[Ingress]:  # noqa: B008
    """A listener, while a test uses it."""
    ingress = Ingress(limits, deadlines)
    try:
        yield ingress
    finally:
        ingress.lose_all()
        ingress.loop.close()
    ingress.assert_calm()


class _InMemory:
    """Replaces the socket of a client."""

    ingress: Ingress
    transport: MemoryTransport

    def send(self, data: bytes) -> None:
        """One read of the gateway's, and what it causes."""
        self.transport.send(data)
        self.ingress.settle()

    def receive(self) -> bytes:
        """What was written, b"" for nothing."""
        self.ingress.settle()
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return data

    def close(self) -> None:
        self.transport.lose()
        self.ingress.settle()


class Http1Client(_InMemory, RawClient):
    """Speaks HTTP/1.1, well or not. What does not come at once never will."""

    def __init__(self, ingress: Ingress, transport: MemoryTransport) -> None:
        self.ingress = ingress
        self.transport = transport
        self._unread = b""

    def receive(self) -> bytes:
        data, self._unread = self._unread, b""
        return data or super().receive()

    def send_in_pieces(self, data: bytes, cuts: Iterable[int]) -> None:
        """One read for each piece."""
        at = 0
        for cut in [*sorted(cuts), len(data)]:
            self.send(data[at:cut])
            at = cut

    def assert_refused(self, status: int, words: str) -> None:
        """The last answer is this one, and nothing more is read."""
        answer = self.answer()
        assert (answer.status, words in answer.error) == (status, True), answer
        assert answer.headers["connection"] == "close"
        assert self.receive() == b""
        assert isinstance(self.transport.protocol, Linger)

    def statuses(self) -> list[int]:
        """Those of all answers that came."""
        found = []
        while self._unread or (data := super().receive()):
            self._unread = self._unread or data
            found.append(self.answer().status)
        return found


class Http2Client(_InMemory, RudeHttp2):
    """Speaks frames, good ones or not. What does not come at once never will."""

    def __init__(
        self, ingress: Ingress, transport: MemoryTransport, settings: dict[int, int], greet: bool, answer_pings: bool
    ) -> None:
        self.ingress = ingress
        self.transport = transport
        self._begin(settings, greet, answer_pings)

    def read(self) -> None:
        """Take note of all frames that came."""
        while self.read_frame() is not None:
            pass
