"""One listener in one worker: its limits, its open connections, and the sweep that ends those that take too long.

Deadlines cost a request nothing but an assignment: each connection says when it expires (`expires`, in the loop's time)
and one sweep per listener looks at all of them a few times per deadline.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from config.schema import Listener as ListenerConfig
from gateway.ingress.handshakes import refuse_handshakes, unaccepted
from gateway.telemetry.metrics import Metrics
from routing.tasks import spawn

if TYPE_CHECKING:
    from gateway.ingress.grpc import GrpcService
    from gateway.ingress.rest import RestService

NEVER = float("inf")
SWEEPS_PER_DEADLINE = 8
LONGEST_SWEEP, SHORTEST_SWEEP = 1.0, 0.02
BACKLOG = 4096
DRAIN_IDLE = 1.0
"""Seconds without a request after which a connection closes while draining: a client that uses it meanwhile is told on
that answer to go away, and loses nothing."""


class OpenConnection(Protocol):
    """What the listener asks of a connection."""

    expires: float

    def expired(self, now: float) -> None:
        """`expires` has passed: close, answer, or move it."""
        ...

    def drain(self) -> None:
        """Take no further requests; close when the ones in flight are done."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class Listener:
    """The state that all connections of one listener share."""

    def __init__(self, config: ListenerConfig, rest: RestService, grpc: GrpcService, metrics: Metrics) -> None:
        self.config = config
        self.limits = config.limits
        self.deadlines = config.deadlines
        self.rest = rest
        self.grpc = grpc
        self.apis = frozenset(config.apis)
        self.loop = asyncio.get_running_loop()
        self.connections: set[OpenConnection] = set()
        self.addresses: Counter[str] = Counter()
        self.draining = False
        self.requests_in_flight = 0
        self.buffered = 0
        self.refused = metrics.counter("penstock_refused_total", ("connections",))
        self.received = metrics.counter("penstock_bytes_received_total", (config.name,))
        self.sent = metrics.counter("penstock_bytes_sent_total", (config.name,))
        self.metrics = metrics
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Bind and listen. Raises OSError."""
        from gateway.ingress.edge import Edge  # the edge needs this module's types

        sock = self._socket = bind(self.config.address)
        context = tls_context(self.config)
        self._server = await self.loop.create_server(
            lambda: Edge(self),
            sock=sock,
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=self.deadlines.handshake if context else None,
        )
        self._sweeper = spawn(self._sweep(), f"deadlines of {self.config.name}")

    def admit(self, connection: OpenConnection, address: str) -> bool:
        """Count a new connection; False when there are too many."""
        per_address = self.limits.connections_per_address
        if len(self.connections) >= self.limits.connections or (
            per_address is not None and self.addresses[address] >= per_address
        ):
            self.refused.value += 1
            return False
        self.connections.add(connection)
        if per_address is not None:
            self.addresses[address] += 1
        return True

    def release(self, connection: OpenConnection, address: str) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self.limits.connections_per_address is not None:
            self.addresses[address] -= 1
            if self.addresses[address] <= 0:
                del self.addresses[address]

    def replace(self, old: OpenConnection, new: OpenConnection) -> None:
        """The edge found out which protocol a connection speaks."""
        protocol = type(new).__name__.lower()
        self.metrics.counter("penstock_connections_accepted_total", (self.config.name, protocol)).value += 1
        self.connections.discard(old)
        self.connections.add(new)

    async def _sweep(self) -> None:
        deadlines = self.deadlines
        shortest = min(deadlines.header, deadlines.body, deadlines.idle, deadlines.write_stall)
        pause = max(SHORTEST_SWEEP, min(LONGEST_SWEEP, shortest / SWEEPS_PER_DEADLINE))
        while True:
            await asyncio.sleep(pause)
            self.sweep()

    def sweep(self) -> None:
        """End what takes too long."""
        now = self.loop.time()
        for connection in [each for each in self.connections if each.expires <= now]:
            connection.expired(now)

    def start_draining(self) -> None:
        """Idle connections close soon, busy ones after their requests; new ones are still accepted, for one request
        each."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def stop_handshakes(self) -> None:
        """Take what has connected already and nothing more; `close` then resets nobody."""
        if self._socket is not None:
            refuse_handshakes(self._socket)

    @property
    def busy(self) -> bool:
        """Is there still a request, a connection, or one that waits to be accepted?"""
        waiting = self._socket is not None and self._socket.fileno() >= 0 and unaccepted(self._socket)
        return bool(self.requests_in_flight or self.connections or waiting)

    async def close(self) -> None:
        """Stop listening and close what is left."""
        if self._server:
            self._server.close()
        if self._sweeper:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.abort()


def bind(address: str) -> socket.socket:
    """A listening-ready socket that shares its port with the other workers."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.bind((host, int(port)))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def tls_context(config: ListenerConfig) -> ssl.SSLContext | None:
    """TLS as the listener says, offering HTTP/2 and HTTP/1.1 by ALPN."""
    tls = config.tls
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if tls.client_ca:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
