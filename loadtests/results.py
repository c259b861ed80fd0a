"""What a run measured, as plain data that is written as JSON and read again to draw the report anew."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from loadtests.measure import Spread, ratios, spread

FORMAT = 1
METHOD = (
    "Every proxy has one worker and stands before the same Triton on the same machine. Peers take turns within a "
    "round, and ratios are taken within rounds: trust ratios, not digits."
)
Samples = dict[str, list[float]]


@dataclass
class RowResult:
    """What a row measured: for each peer and metric the figures round by round.

    A peer is in `samples`, in `skipped` (not installed) or in `failed` (did not start, or answered wrongly), with the
    reason. `primary` is the metric that the row is about, `facts` say what was sent, `note` what a reader must know.
    `shares` are metrics in percent that add up to 100, and what each is the share of. A peer may take part in the first
    rounds only; its ratio is of those. `subject` is the peer that others are compared with, if not the document's.
    """

    name: str
    title: str
    primary: str
    metrics: list[str]
    note: str = ""
    facts: dict[str, int | float] = field(default_factory=dict)
    shares: dict[str, str] = field(default_factory=dict)
    samples: dict[str, Samples] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    subject: str = ""

    def add(self, peer: str, figures: dict[str, float]) -> None:
        """Keep one round of a peer."""
        samples = self.samples.setdefault(peer, {})
        for metric, value in figures.items():
            samples.setdefault(metric, []).append(value)

    def fail(self, peer: str, reason: str) -> None:
        """A peer that failed once has no figures at all."""
        self.samples.pop(peer, None)
        self.failed[peer] = reason

    def spread(self, peer: str, metric: str) -> Spread | None:
        """One figure of a peer over the rounds, None when there is none."""
        values = self.samples.get(peer, {}).get(metric)
        return spread(values) if values else None

    def ratio(self, subject: str, peer: str, metric: str) -> Spread | None:
        """The subject's figure over the peer's, taken round by round."""
        above, below = (self.samples.get(name, {}).get(metric) for name in (subject, peer))
        rounds = min(len(above or ()), len(below or ()))
        values = ratios(above[:rounds], below[:rounds]) if above and below else []
        return spread(values) if values else None


@dataclass(frozen=True)
class Aim:
    """What the project owes (`limit`) and where it goes (`goal`): a ratio to `peer`, or the figure itself without one.

    All aims are upper bounds.
    """

    row: str
    metric: str
    peer: str | None
    limit: float
    goal: float
    text: str


@dataclass(frozen=True)
class Verdict:
    """An aim beside what was measured; None where the row or the peer has no figures."""

    aim: Aim
    measured: Spread | None

    @property
    def met(self) -> bool | None:
        """Whether the median keeps to the aim, None when nothing was measured."""
        return None if self.measured is None else self.measured.median <= self.aim.limit


@dataclass
class Document:
    """One run. `machine` and `versions` name no host and no path; `seconds` is how long the run took. `method` and
    `load` tell a reader how it was measured; without `load`, it is the closed loop of `generator`."""

    effort: str
    generator: str
    subject: str
    date: str
    machine: dict[str, str]
    versions: list[str]
    labels: dict[str, str]
    aims: list[Aim]
    rows: list[RowResult] = field(default_factory=list)
    seconds: float = 0.0
    title: str = "Benchmark"
    method: str = METHOD
    load: str = ""
    format: int = FORMAT

    def verdicts(self) -> list[Verdict]:
        """Each aim of a row that ran."""
        rows = {row.name: row for row in self.rows}
        return [Verdict(aim, self._measured(rows[aim.row], aim)) for aim in self.aims if aim.row in rows]

    def _measured(self, row: RowResult, aim: Aim) -> Spread | None:
        subject = self.subject_of(row)
        if aim.peer is None:
            return row.spread(subject, aim.metric)
        return row.ratio(subject, aim.peer, aim.metric)

    def subject_of(self, row: RowResult) -> str:
        """The peer that the others of a row are compared with."""
        return row.subject or self.subject

    @property
    def failures(self) -> list[str]:
        """One line for each peer that failed in a row."""
        return [f"{row.name}: {peer}: {reason}" for row in self.rows for peer, reason in row.failed.items()]


def encode(document: Document) -> bytes:
    """The document as indented JSON, with what follows from the samples written out for readers without this code."""
    plain = msgspec.to_builtins(document)
    plain["verdicts"] = [msgspec.to_builtins(v) | {"met": v.met} for v in document.verdicts()]
    for row, out in zip(document.rows, plain["rows"], strict=True):
        out["spreads"] = {p: {m: row.spread(p, m) for m in samples} for p, samples in row.samples.items()}
        subject = document.subject_of(row)
        out["ratios"] = {p: row.ratio(subject, p, row.primary) for p in row.samples if p != subject}
    return msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n"


def decode(data: bytes) -> Document:
    """Read what `encode` wrote. Raises msgspec.ValidationError."""
    return msgspec.json.decode(data, type=Document)
