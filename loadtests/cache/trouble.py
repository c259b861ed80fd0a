"""Rows about a store in trouble: what it does to the slowest requests.

Penstock keeps answers in a store of its own valkey-server, behind a process that can hold its answers back or replace
them. At a fixed rate come requests of which half ask something new, so that the store is asked and written to all the
time. Within each round the same is measured with the store well and in each trouble, from the moment at which that
begins, and then all is healed. A latency counts from a request's turn.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import uvloop

from loadtests.cache.distinct import asked
from loadtests.measure import percentile
from loadtests.peers.penstock import Penstock
from loadtests.results import RowResult
from loadtests.workloads.base import PEER_ERRORS, Context, describe
from state.server import find_server

TROUBLES = {
    "paused": "stopped by SIGSTOP",
    "killed": "killed",
    "slow": "slow by 1 s",
    "full": "full",
    "garbage": "answering garbage",
}
CONNECTIONS = 16
RATE = 150.0
SUBJECT = "penstock_cache"
WELL = "store_well"
SECONDS = 6.0
RECOVERY = 1.0


class StoredPenstock(Penstock):
    """With answers kept in the worker and in a store."""

    name = "penstock_stored"
    socket = Path()

    def command(self) -> list[str]:
        """Write its configuration, with the store's socket."""
        policy = "{kind: cache, ttl: 1h, scope: shared}"
        self.more = f"    policies: [{policy}]\nstate: {{url: 'unix:{self.socket}'}}\n"
        return super().command()


class Store:
    """A valkey-server, and in front of it what can make it slow or rude."""

    def __init__(self, scratch: Path) -> None:
        self._own, self.socket = scratch / "v", scratch / "s"
        self._mode = scratch / "mode"
        self._scratch = scratch
        self._server: subprocess.Popen[bytes] | None = None
        self._between: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start whatever does not run."""
        self._mode.write_text("well")
        if self._server is None:
            words = ["--port", "0", "--save", "", "--unixsocket", str(self._own), "--dir", str(self._scratch)]
            self._server = subprocess.Popen([find_server(), *words], stdout=subprocess.DEVNULL)
        if self._between is None:
            command = [
                sys.executable,
                "-m",
                "loadtests.cache.between",
                str(self._own),
                str(self.socket),
                str(self._mode),
            ]
            self._between = subprocess.Popen(command)

    def stop(self) -> None:
        """End both."""
        for process in (self._server, self._between):
            if process is not None:
                process.kill()
                process.wait()
        self._server = self._between = None

    def _limit(self, size: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "loadtests.cache.between", "limit", str(self._own), size], check=True, timeout=10
        )

    @contextlib.contextmanager
    def trouble(self, name: str) -> Iterator[None]:
        """In this trouble, and well again afterwards."""
        assert self._server is not None
        begin: dict[str, Callable[[], object]] = {
            "well": lambda: None,
            "paused": lambda: os.kill(self._server.pid, signal.SIGSTOP) if self._server else None,
            "killed": self._kill,
            "slow": lambda: self._mode.write_text("slow"),
            "garbage": lambda: self._mode.write_text("garbage"),
            "full": lambda: self._limit("1"),
        }
        begin[name]()
        try:
            yield
        finally:
            if name == "paused":
                os.kill(self._server.pid, signal.SIGCONT)
            if name == "full":
                self._limit("0")
            self.start()

    def _kill(self) -> None:
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        self._server = None


class TroubleRow:
    """Latencies in one trouble beside those with a store that is well."""

    def __init__(self, trouble: str) -> None:
        self.name = f"store_{trouble}"
        self._trouble = trouble

    def run(self, context: Context) -> RowResult:
        """Well and ill, in turns."""
        facts = {"connections": CONNECTIONS, "rate": RATE}
        title = f"The store is {TROUBLES[self._trouble]}; half of the requests ask something new"
        result = RowResult(self.name, title, "p99_ms", ["p50_ms", "p99_ms"], facts=facts)
        scratch = context.scratch / self.name
        scratch.mkdir()
        store = Store(scratch)
        StoredPenstock.socket = store.socket
        try:
            store.start()
            with StoredPenstock(context.backend, scratch) as peer:
                numbers = itertools.count(1)
                self._measure(store, peer, numbers, "well", RECOVERY)
                for number in range(context.effort.rounds):
                    self._round(context, result, store, peer, numbers, number)
        except PEER_ERRORS as error:
            result.fail(SUBJECT, describe(error))
        finally:
            store.stop()
        return result

    def _round(
        self,
        context: Context,
        result: RowResult,
        store: Store,
        peer: StoredPenstock,
        numbers: Iterator[int],
        number: int,
    ) -> None:
        seconds = SECONDS * max(context.effort.share, 0.3)
        told = []
        for name, trouble in ((WELL, "well"), (SUBJECT, self._trouble)):
            figures = self._measure(store, peer, numbers, trouble, seconds)
            result.add(name, figures)
            told.append(f"{trouble} p50 {figures['p50_ms']:.2f} ms p99 {figures['p99_ms']:.2f} ms")
        self._measure(store, peer, numbers, "well", RECOVERY)
        context.say(f"  {number + 1}/{context.effort.rounds} " + ", ".join(told))

    def _measure(
        self, store: Store, peer: StoredPenstock, numbers: Iterator[int], trouble: str, seconds: float
    ) -> dict[str, float]:
        with store.trouble(trouble):
            latencies = uvloop.run(asked(peer.address, CONNECTIONS, RATE, round(RATE * seconds), numbers))
        return {"p50_ms": percentile(latencies, 0.5) * 1e3, "p99_ms": percentile(latencies, 0.99) * 1e3}
