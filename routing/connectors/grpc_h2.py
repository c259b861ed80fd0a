"""Our gRPC channel: warm HTTP/2 connections to one endpoint.

Frames of one loop turn leave in one write. A connection that ends is replaced at once the first time, then with
exponential backoff and jitter; one that got GOAWAY finishes its streams while its successor takes new ones. No
keepalive pings are sent: gRPC servers count them as abuse below five minutes, and control polls each endpoint anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from routing.call import Call, Reply
from routing.connectors.outcome import broken
from routing.connectors.streaming import StreamAttempt, StreamSink
from routing.connectors.unary import UnaryAttempt
from routing.tasks import spawn
from transcoding.grpc_framing import format_timeout
from transcoding.http2 import hpack
from transcoding.http2.client import ClientConnection
from transcoding.http2.errors import ErrorCode
from transcoding.http2.limits import Http2Limits
from transcoding.message import Buffer
from transcoding.status import Code, Fault, GatewayError

Attempt = UnaryAttempt | StreamAttempt

BACKOFF_FIRST, BACKOFF_CAP = 0.05, 2.0
MIB = 1024 * 1024
# The connection's window is as good as none: a stream whose reader is slow is stopped by its own window, and those
# that share the connection go on.
UPSTREAM_LIMITS = Http2Limits(
    stream_window=4 * MIB,
    connection_window=2**31 - 1,
    max_frame=64 * 1024,
    nuisances=100_000,
    nuisances_per_second=10_000,
)
NODELAY_SAFE_JOIN = 64 * 1024


class Connection(asyncio.Protocol):
    """One TCP connection and its HTTP/2 state."""

    def __init__(self, owner: Channel) -> None:
        self.h2 = ClientConnection(UPSTREAM_LIMITS, owner.loop.time)
        self.h2.on_available = owner.connection_available
        self.flushed_id = 0
        self.last_id = 0
        self.lost: asyncio.Future[None] = owner.loop.create_future()
        self._loop = owner.loop
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._flush_scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface and count as connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from asyncio's
        self.h2.start()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Feed the state machine; what it wants to say leaves in one write."""
        self.h2.receive(data)
        if self.h2.outgoing:
            self.flush()
        if self.h2.goaway_received or self.h2.closed:
            self._owner.connection_changed(self)
            if self._transport and (self.h2.closed or not self.h2.streams):
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Every open stream learns of it; the channel replaces the connection."""
        self._transport = None
        self.h2.connection_lost()
        if not self.lost.done():
            self.lost.set_result(None)
        self._owner.connection_changed(self)

    @property
    def open(self) -> bool:
        """Connected and not going away, though perhaps at the peer's stream limit."""
        return self._transport is not None and not self.h2.closed and not self.h2.goaway_received

    def sent(self, stream_id: int) -> None:
        """The frames of a new stream wait to be written."""
        self.last_id = stream_id
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def schedule_flush(self) -> None:
        """Write at the end of this loop turn, together with what others add until then."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write all frames that wait."""
        self._flush_scheduled = False
        outgoing, transport = self.h2.outgoing, self._transport
        if not outgoing or transport is None or transport.is_closing():
            return  # what a closing connection does not write was never sent
        self.flushed_id = self.last_id
        if len(outgoing) == 1:
            transport.write(outgoing[0])
        else:
            transport.writelines(outgoing)
        outgoing.clear()

    def close(self) -> None:
        """Close at once; open streams are reset."""
        if self._transport:
            self._transport.close()


class Channel:
    """Connections to one endpoint, kept warm.

    `on_change` is called when the channel becomes connected or stops being so. Errors are `GatewayError`: UNAVAILABLE
    when the endpoint cannot be reached or went away, DEADLINE_EXCEEDED, and what the endpoint itself answered.
    """

    def __init__(
        self,
        address: str,
        *,
        connections: int = 1,
        connect_timeout: float = 2.0,
        message_bytes: int = 2**31 - 1,
        on_change: Callable[[], None] = lambda: None,
        rng: random.Random | None = None,
    ) -> None:
        self.address = address
        self.connected = False
        self.loop = asyncio.get_running_loop()
        self._host, _, port = address.rpartition(":")
        self._host = self._host.strip("[]")
        self._port = int(port)
        self._count = connections
        self._connect_timeout = connect_timeout
        self._message_bytes = message_bytes
        self._on_change = on_change
        self._random = (rng or random.Random()).random
        self._connections: list[Connection] = []
        self._turn = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._heads: dict[bytes, bytes] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._failure = "not connected yet"

    def __repr__(self) -> str:
        return f"<Channel {self.address}: {len(self._connections)} of {self._count} connected>"

    def start(self) -> None:
        """Begin to connect, in the background."""
        for slot in range(self._count):
            self._keepers.append(spawn(self._keep_connected(), f"connection {slot} to {self.address}"))

    async def aclose(self) -> None:
        """Close all connections; calls in flight fail."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for connection in list(self._connections):
            connection.close()
        self._wake_waiting()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def _keep_connected(self) -> None:
        backoff = 0.0
        while True:
            connection = await self._connect()
            if connection is None:
                backoff = min(BACKOFF_CAP, max(BACKOFF_FIRST, backoff * 2))
                await asyncio.sleep(backoff * (0.5 + self._random()))
                continue
            self._connections.append(connection)
            self.connection_changed(connection)
            await connection.lost
            backoff = 0.0 if connection.h2.completed else max(BACKOFF_FIRST, backoff * 2)
            await asyncio.sleep(min(backoff, BACKOFF_CAP))

    async def _connect(self) -> Connection | None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await self.loop.create_connection(lambda: Connection(self), self._host, self._port)
        except OSError as error:  # TimeoutError and name resolution errors are OSErrors too
            self._failure = str(error) or type(error).__name__
            self._wake_waiting()
            return None
        return connection

    def connection_changed(self, connection: Connection) -> None:
        """A connection came, went, or got GOAWAY."""
        if not connection.open and connection in self._connections:
            self._connections.remove(connection)
            self._failure = "connection closed"
            if not connection.lost.done():
                connection.lost.set_result(None)  # its successor starts while it finishes its streams
        was = self.connected
        self.connected = bool(self._connections)
        self._wake_waiting()
        if was != self.connected:
            self._on_change()

    def connection_available(self) -> None:
        """A stream slot became free, or the peer's GOAWAY took the connection away."""
        for connection in [each for each in self._connections if not each.open]:
            self.connection_changed(connection)
        self._wake_next()

    def _wake_waiting(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def _wake_next(self) -> None:
        """Let the call that waits longest try. It wakes the next one in turn: a free slot costs two tries and not one
        of every call that waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _open(self, attempt: Attempt) -> bool:
        """Open the attempt's stream on the next connection that has room, if there is one."""
        connections = self._connections
        for _ in connections:
            self._turn = turn = (self._turn + 1) % len(connections)
            stream = connections[turn].h2.try_open(attempt)
            if stream is not None:
                attempt.stream, attempt.connection = stream, connections[turn]
                return True
        return False

    async def _wait_open(self, attempt: Attempt, deadline: float | None) -> None:
        """Open the stream when a connection is made or has room. Raises `GatewayError` when that takes too long, and at
        once when the connections end on which this waited for room: another endpoint may have some."""
        limit = self.loop.time() + self._connect_timeout
        waited_for_room = False
        try:
            while not self._open(attempt):
                if deadline is not None and self.loop.time() >= deadline:
                    raise deadline_exceeded()
                if not self._connections and waited_for_room:
                    raise broken(self.address, ErrorCode.REFUSED_STREAM, executed=False)
                if not self._connections and self.loop.time() >= limit:
                    text = f"endpoint {self.address} cannot be reached: {self._failure}"
                    raise GatewayError(Code.UNAVAILABLE, text, http_status=502, fault=Fault.WORKER)
                first_in_line, waited_for_room = waited_for_room, bool(self._connections)
                await self._wait(None if self._connections else limit, deadline, first_in_line)
        finally:
            self._wake_next()

    async def _wait(self, limit: float | None, deadline: float | None, first: bool) -> None:
        waiter: asyncio.Future[None] = self.loop.create_future()
        (self._waiting.appendleft if first else self._waiting.append)(waiter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min_deadline(limit, deadline)):
                await waiter

    def _head(self, path: bytes, metadata: bytes, granted: float | None) -> bytes:
        head = self._heads.get(path)
        if head is None:
            head = self._heads[path] = request_head(path, self.address)
        if granted is not None:
            head += timeout_field(granted)
        return head + metadata if metadata else head

    async def unary(self, call: Call) -> Reply:
        """Send one message and await one. Cancellation resets the stream, which cancels the work at Triton."""
        deadline = call.deadline
        attempt = UnaryAttempt(self.loop.create_future(), self._message_bytes, self.address)
        if not self._open(attempt):
            await self._wait_open(attempt, deadline)
        stream, message = attempt.stream, call.message
        granted = None if deadline is None else deadline - self.loop.time()
        head = self._head(call.method.path, call.metadata, granted)
        if len(message) == 1:
            stream.send_all(head, message[0], None)
        else:
            send_parts(attempt, head, message)
        attempt.connection.sent(stream.id)
        timer = None
        if deadline is not None and granted is not None:
            timer = self.loop.call_at(deadline, attempt.expire, granted)
        try:
            return Reply(await attempt.future, call.endpoint)
        except asyncio.CancelledError:
            attempt.cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def stream(
        self, path: bytes, sink: StreamSink, *, metadata: bytes = b"", deadline: float | None = None
    ) -> StreamAttempt:
        """Open a bidirectional stream whose messages go to `sink`."""
        attempt = StreamAttempt(sink, self._message_bytes, self.address)
        if not self._open(attempt):
            await self._wait_open(attempt, deadline)
        granted = None if deadline is None else deadline - self.loop.time()
        attempt.stream.send_headers(self._head(path, metadata, granted), False)
        attempt.connection.sent(attempt.stream.id)
        return attempt


def send_parts(attempt: UnaryAttempt, head: bytes, message: Sequence[Buffer]) -> None:
    """A message in several buffers: small ones are joined, large ones are written as they are."""
    stream = attempt.stream
    if sum(map(len, message)) <= NODELAY_SAFE_JOIN:
        stream.send_all(head, b"".join(message), None)
        return
    stream.send_headers(head, False)
    last = len(message) - 1
    for index, part in enumerate(message):
        stream.send_data(part, index == last)


def request_head(path: bytes, authority: str) -> bytes:
    """The HPACK block that starts each request for `path`."""
    return hpack.encode(
        [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", authority.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"user-agent", b"penstock"),
        ]
    )


def timeout_field(seconds: float) -> bytes:
    """The `grpc-timeout` field for what is left."""
    return hpack.encode([(b"grpc-timeout", format_timeout(seconds))])


def min_deadline(a: float | None, b: float | None) -> float | None:
    """The earlier of two deadlines, None being never."""
    if a is None or b is None:
        return b if a is None else a
    return min(a, b)


def deadline_exceeded() -> GatewayError:
    """The answer when the time is over before a worker answered."""
    return GatewayError(Code.DEADLINE_EXCEEDED, "deadline exceeded", fault=Fault.WORKER, executed=True)
