"""Rows that send the same request again and again: CPU per request in a closed loop, latency at a fixed rate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import uvloop

from loadtests.exchange import Dialect, Exchange
from loadtests.load import generator, h2load
from loadtests.load.client import Reply
from loadtests.load.generator import Load
from loadtests.measure import microseconds_each, percentile, turns
from loadtests.peers import Peer
from loadtests.proc import CpuMeter
from loadtests.results import RowResult
from loadtests.workloads.base import PEER_ERRORS, Context, describe, installed

CLOSED_LOOP_TIMEOUT = 300.0
METRICS = ["cpu_us", "triton_cpu_us", "requests_per_second", "p50_ms", "p99_ms"]


@dataclass(frozen=True)
class RequestRow:
    """`peers` maps a peer's name to the dialect that its clients speak. `rate` is in requests per second. `subject`
    is the peer that the others are compared with, if that is not the run's."""

    name: str
    title: str
    payload: Callable[[Dialect], Exchange]
    peers: dict[str, Dialect]
    requests: int
    rate: float
    connections: int = 16
    primary: str = "cpu_us"
    note: str = ""
    subject: str = ""

    def run(self, context: Context) -> RowResult:
        """Start all peers, then let them take turns."""
        facts = {"connections": self.connections, "requests_a_round": self._requests(context), "rate": self.rate}
        result = RowResult(self.name, self.title, self.primary, METRICS, self.note, facts, subject=self.subject)
        with ExitStack() as stack:
            runs = self._start(context, result, stack)
            for number, order in enumerate(turns(list(runs), context.effort.rounds), 1):
                for name in [name for name in order if name not in result.failed]:
                    self._round(context, result, runs[name], number)
        return result

    def _requests(self, context: Context) -> int:
        return max(self.connections, round(self.requests * context.effort.share))

    def _start(self, context: Context, result: RowResult, stack: ExitStack) -> dict[str, _Run]:
        """Start each peer, check one answer through it and warm it up."""
        runs: dict[str, _Run] = {}
        for name in installed(result, tuple(self.peers), context.say):
            try:
                peer = stack.enter_context(context.peer(name))
                exchange = self.payload(self.peers[name])
                run = _Run(self, context, peer, replace(exchange, headers=exchange.headers + peer.headers))
                run.closed(max(self.connections, self._requests(context) // 4))
                runs[name] = run
            except PEER_ERRORS as error:
                result.fail(name, describe(error))
                context.say(f"  {name}: failed, {describe(error)}")
        return runs

    def _round(self, context: Context, result: RowResult, run: _Run, number: int) -> None:
        try:
            figures = run.figures(self._requests(context))
        except PEER_ERRORS as error:
            result.fail(run.peer.name, describe(error))
            context.say(f"  {run.peer.name}: failed, {describe(error)}")
            return
        result.add(run.peer.name, figures)
        context.say(f"  {number}/{context.effort.rounds} {run.peer.name:17}" + _line(figures))


class _Run:
    """One started peer with its request and the answer that was verified."""

    def __init__(self, row: RequestRow, context: Context, peer: Peer, exchange: Exchange) -> None:
        self.row, self.context, self.peer, self.exchange = row, context, peer, exchange
        self.expected: Reply = uvloop.run(generator.ask(exchange, peer.address))

    def figures(self, requests: int) -> dict[str, float]:
        """One round: the closed loop for CPU time, then the fixed rate for latency."""
        proxy, triton = CpuMeter(self.peer.pids), CpuMeter([self.context.backend.pid])
        load = self.closed(requests)
        figures = {
            "triton_cpu_us": microseconds_each(triton.seconds(), requests),
            "requests_per_second": requests / load.seconds,
        }
        if self.peer.pids:
            figures["cpu_us"] = microseconds_each(proxy.seconds(), requests)
        times = self.opened().latencies
        return figures | {"p50_ms": percentile(times, 0.5) * 1e3, "p99_ms": percentile(times, 0.99) * 1e3}

    def closed(self, requests: int) -> Load:
        """Every connection busy, by h2load or the own generator."""
        address, count = self.peer.address, self.row.connections
        if self.context.generator == "h2load":
            size = len(self.expected.body)
            return h2load.closed(self.exchange, address, size, count, requests, CLOSED_LOOP_TIMEOUT)
        return uvloop.run(generator.closed(self.exchange, address, self.expected, count, requests))

    def opened(self) -> Load:
        """The row's rate, by the own generator."""
        row = self.row
        requests = max(10, round(row.rate * self.context.effort.latency_seconds))
        load = generator.opened(self.exchange, self.peer.address, self.expected, row.connections, row.rate, requests)
        return uvloop.run(load)


def _line(figures: dict[str, float]) -> str:
    cpu = f"{figures['cpu_us']:8.1f} us CPU" if "cpu_us" in figures else " " * 15
    rest = "triton {triton_cpu_us:7.1f} us {requests_per_second:7.0f}/s p50 {p50_ms:.2f} ms p99 {p99_ms:.2f} ms"
    return f"{cpu}  " + rest.format(**figures)
