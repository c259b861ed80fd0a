"""The row of idle connections: what each costs in memory while other connections are served.

Each peer is started anew. Busy connections are measured alone first, then again beside the idle ones, so the
difference in memory is that of the idle ones. Each idle connection has served one request and must serve another one
at the end. Clients come from several loopback addresses, as they would in life.
"""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvloop

from loadtests.exchange import Address, Dialect, Exchange
from loadtests.load import generator
from loadtests.load.client import LoadError, Reply
from loadtests.measure import percentile
from loadtests.payloads import small
from loadtests.peers import Peer
from loadtests.proc import memory_bytes
from loadtests.results import RowResult
from loadtests.workloads.base import PEER_ERRORS, Context, describe, installed

METRICS = ["kb_per_idle", "memory_mb", "p50_ms", "p99_ms"]
NOTE = (
    "Resident memory of the peer's processes (Pss) with the busy connections and the idle ones, less the same with the "
    "busy ones alone, per idle connection. Each idle connection has served a request."
)
SOURCES = 8
REPLY_TIMEOUT = 30.0
SETTLE_SECONDS = 1.0
SPARE_FILES = 500


@dataclass(frozen=True)
class IdleRow:
    """`idle` connections beside `busy` ones that together send `rate` requests per second."""

    name: str
    title: str
    peers: dict[str, Dialect]
    idle: int
    busy: int
    rate: float
    busy_seconds: float

    def run(self, context: Context) -> RowResult:
        """Measure one peer after another, as often as the effort says."""
        raise_file_limit(self.idle + 2 * self.busy + SPARE_FILES)
        facts = {"idle": self.idle, "busy": self.busy, "rate": self.rate}
        result = RowResult(self.name, self.title, "kb_per_idle", METRICS, NOTE, facts)
        names = list(installed(result, tuple(self.peers), context.say))
        for number in range(1, context.effort.idle_rounds + 1):
            for name in [name for name in names if name not in result.failed]:
                self._round(context, result, name, number)
        return result

    def _round(self, context: Context, result: RowResult, name: str, number: int) -> None:
        try:
            with context.peer(name) as peer:
                figures = self._figures(peer, small(self.peers[name]))
        except PEER_ERRORS as error:
            result.fail(name, describe(error))
            context.say(f"  {name}: failed, {describe(error)}")
            return
        result.add(name, figures)
        text = "{kb_per_idle:6.1f} KB per idle connection, {memory_mb:.0f} MB in all, p50 {p50_ms:.2f} ms"
        context.say(f"  {number}/{context.effort.idle_rounds} {name:17}" + text.format(**figures))

    def _figures(self, peer: Peer, exchange: Exchange) -> dict[str, float]:
        expected = uvloop.run(generator.ask(exchange, peer.address))
        alone = uvloop.run(self._busy(peer, exchange, expected))
        with idle_connections(peer.address, self.idle) as sockets:
            time.sleep(SETTLE_SECONDS)
            beside = uvloop.run(self._busy(peer, exchange, expected))
            for one in sockets:
                ask(one, peer.address)
        return {
            "kb_per_idle": (beside.memory - alone.memory) / self.idle / 1024,
            "memory_mb": beside.memory / 2**20,
            "p50_ms": percentile(beside.latencies, 0.5) * 1e3,
            "p99_ms": percentile(beside.latencies, 0.99) * 1e3,
        }

    async def _busy(self, peer: Peer, exchange: Exchange, expected: Reply) -> _Busy:
        """Serve the busy connections for a while; memory is read while they are still open."""
        async with generator.connections(exchange, peer.address, self.busy) as clients:
            requests = round(self.rate * self.busy_seconds)
            load = await generator.Opened(exchange, clients, expected).run(self.rate, requests)
            return _Busy(memory_bytes(peer.pids), load.latencies)


@dataclass(frozen=True)
class _Busy:
    memory: int
    latencies: tuple[float, ...]


def raise_file_limit(needed: int) -> None:
    """Allow this process and its children `needed` open files. Raises LoadError when the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LoadError(f"{needed} open files are needed, the limit is {hard}: raise it with `ulimit -n {needed}`")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextmanager
def idle_connections(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """Open keep-alive connections that have each served one request; closed at the end."""
    sockets: list[socket.socket] = []
    try:
        for index in range(count):
            source = (f"127.0.0.{1 + index % SOURCES}", 0)
            one = socket.create_connection((address.host, address.port), REPLY_TIMEOUT, source)
            sockets.append(one)
            ask(one, address)
        yield sockets
    finally:
        for one in sockets:
            one.close()


def ask(connection: socket.socket, address: Address) -> None:
    """One liveness request on a connection. Raises LoadError unless it is answered 200 with an empty body."""
    connection.sendall(f"GET /v2/health/live HTTP/1.1\r\nhost: {address}\r\n\r\n".encode())
    reply = b""
    while b"\r\n\r\n" not in reply:
        part = connection.recv(4096)
        if not part:
            raise LoadError(f"an idle connection was closed after {reply!r}")
        reply += part
    if not reply.startswith(b"HTTP/1.1 200") or not reply.endswith((b"\r\n\r\n", b"0\r\n\r\n")):
        raise LoadError(f"an idle connection was answered {reply[:200]!r}")
