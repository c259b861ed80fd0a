"""What rows share: how much effort a run makes, what it measures with, and the shape of a row's result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loadtests.exchange import WrongAnswerError
from loadtests.load.client import LoadError
from loadtests.peers import PEERS, Backend, Peer, PeerError
from loadtests.proc import ProcessGoneError
from loadtests.results import RowResult

Say = Callable[[str], None]

# What may go wrong with one peer without ending the run: it is reported as failed and the others go on.
PEER_ERRORS = (LoadError, WrongAnswerError, PeerError, ProcessGoneError, OSError, TimeoutError, ExceptionGroup)


@dataclass(frozen=True)
class Effort:
    """How much a run does: rounds, the share of each row's full number of requests, seconds at a fixed rate."""

    name: str
    rounds: int
    share: float
    latency_seconds: float
    idle_rounds: int


FULL = Effort("full", rounds=7, share=1.0, latency_seconds=2.0, idle_rounds=3)
QUICK = Effort("quick", rounds=3, share=0.15, latency_seconds=0.5, idle_rounds=1)


@dataclass(frozen=True)
class Context:
    """What a row runs with."""

    backend: Backend
    scratch: Path
    effort: Effort
    generator: str
    say: Say

    def peer(self, name: str) -> Peer:
        """A new instance of a peer, not started."""
        return PEERS[name](self.backend, self.scratch)


class Row(Protocol):
    """One row of the table."""

    @property
    def name(self) -> str:
        """What `--only` calls it."""
        ...

    def run(self, context: Context) -> RowResult:
        """Start the peers, take turns, stop them."""
        ...


def describe(error: BaseException) -> str:
    """An error in one line, the first inner one of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def installed(result: RowResult, names: tuple[str, ...], say: Say) -> Iterator[str]:
    """The peers that can run here; the others are noted as skipped."""
    for name in names:
        if reason := PEERS[name].missing():
            result.skipped[name] = reason
            say(f"  {name}: skipped, {reason}")
        else:
            yield name
