"""One listener in one worker: its limits, its open connections, and the sweep that ends those that take too long.

Deadlines cost a request nothing but an assignment: each connection says when it expires (`expires`, in the loop's time)
and one sweep per listener looks at all of them a few times per deadline.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from config.schema import Listener as ListenerConfig
from gateway.ingress.exchange import BODY_BYTES_PER_SECOND, Service
from gateway.ingress.handshakes import refuse_handshakes, unaccepted
from gateway.ingress.http1_known import KnownHeads
from gateway.ingress.peer import Peer
from gateway.ingress.proxies import Proxies
from gateway.snapshot import Snapshot
from gateway.telemetry.metrics import Metrics
from routing.match import View
from routing.tasks import spawn

if TYPE_CHECKING:
    from gateway.ingress.grpc_service import GrpcService

log = logging.getLogger(__name__)

NEVER = float("inf")
SWEEPS_PER_DEADLINE = 8
LONGEST_SWEEP, SHORTEST_SWEEP = 1.0, 0.02
BACKLOG = 4096
DRAIN_IDLE = 1.0
"""Seconds without a request after which a connection closes while draining: a client that uses it meanwhile is told on
that answer to go away, and loses nothing."""
# A peer that vanished without a word is noticed after about two minutes (tcp(7)); accepted sockets inherit this.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
FILES_BESIDE_CONNECTIONS = 256


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
    """The state that all connections of one listener share. `snapshot` is what its requests are answered with now."""

    def __init__(self, config: ListenerConfig, rest: Service, grpc: GrpcService, metrics: Metrics) -> None:
        self.config = config
        self.limits = config.limits
        self.deadlines = config.deadlines
        self.rest = rest
        self.grpc = grpc
        self.known_heads = KnownHeads()
        self.snapshot = Snapshot((), {})
        self.apis = frozenset(config.apis)
        self.tells = config.tell_route
        self.verifies = config.tls is not None and config.tls.client_ca is not None
        self.underscores: str = config.underscores
        self._proxies = Proxies(config.trusted_proxies) if config.trusted_proxies else None
        self.loop = asyncio.get_running_loop()
        self.connections: set[OpenConnection] = set()
        self.addresses: Counter[str] = Counter()
        self.draining = False
        self.requests_in_flight = 0
        self.buffered = 0
        self.body_quantum = BODY_BYTES_PER_SECOND * config.deadlines.body
        self.refused = metrics.counter("penstock_refused_total", ("connections",))
        self.received = metrics.counter("penstock_bytes_received_total", (config.name,))
        self.sent = metrics.counter("penstock_bytes_sent_total", (config.name,))
        self.metrics = metrics
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    def view(self, api: str, method: str, model: str, headers: dict[bytes, bytes], peer: Peer) -> View:
        """What policies, rules and splits see of a request that came here from `peer`."""
        proxies = self._proxies
        view = View(
            api, method, model, headers, peer.address if proxies is None else proxies.client(peer.address, headers)
        )
        view.listener = self.config.name
        view.certificate = peer.certificate
        return view

    async def open(self) -> None:
        """Bind and listen. Raises OSError, also for TLS files that cannot be used."""
        from gateway.ingress.edge import Edge  # both need this module's types
        from gateway.ingress.tls import Tls, tls_context

        allow_files(self.limits.connections + FILES_BESIDE_CONNECTIONS)
        tls = self.config.tls
        context = None if tls is None else tls_context(tls)
        sock = self._socket = bind(self.config.address)
        self._server = await self.loop.create_server(
            lambda: Edge(self) if context is None else Tls(self, context), sock=sock, backlog=BACKLOG
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
        self.exchange(old, new)

    def exchange(self, old: OpenConnection, new: OpenConnection) -> None:
        """Another object stands for the same connection."""
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
            self._expire(connection, now)

    def _expire(self, connection: OpenConnection, now: float) -> None:
        try:
            connection.expired(now)
        except Exception:
            log.exception("a deadline failed")  # and must not end those of all other connections
            connection.abort()

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
        for option, value in KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.bind((host, int(port)))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from None
    sock.setblocking(False)
    return sock


def allow_files(wanted: int) -> None:
    """Raise the soft limit of open files towards `wanted`, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
