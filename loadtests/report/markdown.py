"""A run as Markdown: the aims with their verdicts first, then one table for each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loadtests.measure import Spread
from loadtests.results import Document, RowResult, Verdict

HEADINGS = {
    "cpu_us": "CPU of the proxy, µs per request",
    "triton_cpu_us": "CPU of Triton, µs per request",
    "requests_per_second": "requests/s, closed loop",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "kb_per_idle": "KB per idle connection",
    "memory_mb": "memory in all, MB",
    "others_p99_ms": "p99 of the other client, ms",
}
_MARKS = {True: "✓", False: "✗", None: "not measured"}


def render(document: Document) -> str:
    """The whole report."""
    parts = [_head(document), "## Aims\n", aims(document)]
    for row in document.rows:
        parts += [f"\n## {row.title}\n", _facts(row), "", table(document, row), *_absent(document, row)]
    return "\n".join(parts) + "\n"


def aims(document: Document) -> str:
    """What is owed, what was measured, and whether that holds: the table for the README."""
    rounds = max((v.measured.rounds for v in document.verdicts() if v.measured), default=0)
    heads = ["work", "aim", f"measured: median (lowest to highest of up to {rounds} rounds)", "", "goal"]
    return grid(heads, [_aim_line(verdict) for verdict in document.verdicts()])


def _aim_line(verdict: Verdict) -> list[str]:
    aim = verdict.aim
    return [
        aim.text,
        f"≤ {aim.limit:g}",
        _spread(verdict.measured, 2 if aim.peer else 1),
        _MARKS[verdict.met],
        f"≤ {aim.goal:g}",
    ]


def table(document: Document, row: RowResult) -> str:
    """All peers of a row, the cheapest first, with the subject's ratio to each."""
    subject = document.labels[document.subject_of(row)].split(":")[0]
    ratio = f"{subject} ÷ peer, {HEADINGS[row.primary].split(',')[0]}"
    shares = [f"{name}: %" for name in row.shares.values()]
    heads = ["peer", *(HEADINGS[metric] for metric in row.metrics), *shares, ratio]
    return grid(heads, [_peer_line(document, row, peer) for peer in ordered(row)])


def ordered(row: RowResult) -> list[str]:
    """The peers by the median of the row's metric; those without that metric last."""

    def key(peer: str) -> tuple[bool, float]:
        figure = row.spread(peer, row.primary)
        return figure is None, figure.median if figure else 0.0

    return sorted(row.samples, key=key)


def _peer_line(document: Document, row: RowResult, peer: str) -> list[str]:
    label = document.labels[peer]
    figures = [_figure(row, peer, metric) for metric in (*row.metrics, *row.shares)]
    subject = document.subject_of(row)
    ratio = "" if peer == subject else _spread(row.ratio(subject, peer, row.primary), 2)
    return [f"**{label}**" if peer == subject else label, *figures, ratio]


def _figure(row: RowResult, peer: str, metric: str) -> str:
    """The row's own metric with its spread, the others as medians only."""
    figure = row.spread(peer, metric)
    digits = _digits(figure.median) if figure else 0
    if metric == row.primary or figure is None:
        return _spread(figure, digits)
    return f"{figure.median:,.{digits}f}"


def _digits(value: float) -> int:
    """Three significant digits are more than such figures hold."""
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2


def _spread(figure: Spread | None, digits: int) -> str:
    if figure is None:
        return ""
    low, high = f"{figure.low:,.{digits}f}", f"{figure.high:,.{digits}f}"
    return f"{figure.median:,.{digits}f} ({low} to {high})"


def _absent(document: Document, row: RowResult) -> list[str]:
    lines = [f"* {document.labels[peer]}: not measured, {reason}" for peer, reason in row.skipped.items()]
    lines += [f"* {document.labels[peer]}: **failed**, {reason}" for peer, reason in row.failed.items()]
    return ["", *lines] if lines else []


def _facts(row: RowResult) -> str:
    facts = ", ".join(f"{name.replace('_', ' ')} {value:,g}" for name, value in row.facts.items())
    rounds = max((len(samples.get(row.primary, [])) for samples in row.samples.values()), default=0)
    return " ".join([f"{facts}, rounds {rounds}.", row.note]).strip()


def _head(document: Document) -> str:
    machine = "; ".join(f"{name} {value}" for name, value in document.machine.items())
    load = document.load or f"closed loop by {document.generator} for CPU and requests/s, fixed rate for latencies"
    return "\n".join(
        [
            f"# {document.title}, {document.effort} run of {document.date}\n",
            f"{document.method}\n",
            f"* Machine: {machine}",
            f"* Versions: {', '.join(document.versions)}",
            f"* Load: {load}; {document.seconds:,.0f} s in all\n",
        ]
    )


def grid(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table: the first column to the left, figures to the right."""
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *lines])
