"""From answers to figures, and from figures to verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from loadtests.measure import percentile
from loadtests.overload.clients import Answer, Group
from loadtests.report.markdown import grid


class Row(msgspec.Struct, frozen=True):
    """One tenant in one class: requests a second that were asked and answered, the share that its tenant is due, the
    latency of what was answered in milliseconds, and answers by status."""

    kind: str
    tenant: str
    asked: float
    answered: float
    due: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]


class Verdict(msgspec.Struct, frozen=True):
    """What was promised, what was measured, and whether that keeps it."""

    promise: str
    measured: str
    kept: bool


class Report(msgspec.Struct, frozen=True):
    """One run. Rates are a second; `capacity` was measured at the backend alone."""

    date: str
    machine: dict[str, str]
    versions: list[str]
    seconds: float
    capacity: float
    offered: float
    throughput: float
    unloaded_p99_ms: float
    loaded_p99_ms: float
    fairness: dict[str, float]
    ran_late: int
    most_waiting: int
    resident_mib: list[float]
    held_after: float
    rows: list[Row]
    verdicts: list[Verdict]


def rows(answers: Sequence[Answer], seconds: float) -> list[Row]:
    """The rows of a run of so many seconds, in the order of the groups' names."""
    groups = sorted({answer.group for answer in answers})
    found = []
    for kind in sorted({group.kind for group in groups}):
        of_class = [answer for answer in answers if answer.group.kind == kind]
        asked = Counter(answer.group for answer in of_class)
        served = Counter(answer.group for answer in of_class if answer.status == 200)
        due = fair_shares({group: asked[group] for group in asked}, sum(served.values()))
        for group in sorted(asked):
            latencies = sorted(each.seconds for each in of_class if each.group == group and each.status == 200)
            statuses = Counter(str(each.status or "none") for each in of_class if each.group == group)
            found.append(
                Row(
                    kind,
                    group.tenant,
                    round(asked[group] / seconds, 1),
                    round(served[group] / seconds, 1),
                    round(due[group] / seconds, 1),
                    round(percentile(latencies, 0.5) * 1e3, 1) if latencies else 0.0,
                    round(percentile(latencies, 0.99) * 1e3, 1) if latencies else 0.0,
                    dict(sorted(statuses.items())),
                )
            )
    return found


def fair_shares(wanted: Mapping[Group, float], whole: float) -> dict[Group, float]:
    """What each is due of a whole: equal parts, where nobody has more than it wants (max-min fairness)."""
    shares: dict[Group, float] = {}
    left = whole
    for place, group in enumerate(sorted(wanted, key=lambda each: wanted[each])):
        shares[group] = min(wanted[group], left / (len(wanted) - place))
        left -= shares[group]
    return shares


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index of what each got of what it is due: 1 if all got the same part."""
    squares = sum(each * each for each in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def fairness(found: Sequence[Row]) -> dict[str, float]:
    """The index of each class."""
    parts: dict[str, list[float]] = {}
    for row in found:
        parts.setdefault(row.kind, []).append(row.answered / row.due if row.due else 1.0)
    return {kind: round(jain(each), 4) for kind, each in parts.items()}


def verdicts(report: Report, bound: int) -> list[Verdict]:
    """The promises, of which `bound` is how many may wait."""
    ratio = report.loaded_p99_ms / report.unloaded_p99_ms
    share = report.throughput / report.capacity
    worst = min(report.fairness.values())
    grown = report.resident_mib[-1] - report.resident_mib[len(report.resident_mib) // 2]
    return [
        Verdict("p99 of the high class ≤ 1.3 x that without load", f"{ratio:.2f} x", ratio <= 1.3),
        Verdict("fairness between tenants of a class ≥ 0.95", f"{worst:.3f}", worst >= 0.95),
        Verdict("no request executed after its deadline", f"{report.ran_late}", report.ran_late == 0),
        Verdict("throughput ≥ 95 % of the backend's capacity", f"{share:.1%}", share >= 0.95),
        Verdict(f"no more than {bound} wait", f"{report.most_waiting}", report.most_waiting <= bound),
        Verdict("memory of the workers is flat in the second half", f"{grown:+.1f} MiB", grown <= 4.0),
        Verdict("nothing is held afterwards", f"{report.held_after:.0f}", report.held_after == 0),
    ]


def render(report: Report) -> str:
    """The report as Markdown."""
    head = (
        f"# Overload\n\n{report.offered / report.capacity:.1f} x what the backend can do "
        f"({report.capacity:.0f} a second), in three classes, of two tenants, for {report.seconds:g} s. The p99 of the "
        f"high class without load: {report.unloaded_p99_ms:.0f} ms; under it: {report.loaded_p99_ms:.0f} ms.\n"
    )
    table = grid(
        ["class", "tenant", "asked/s", "answered/s", "due/s", "p50 ms", "p99 ms", "answers"],
        [
            [row.kind, row.tenant, f"{row.asked:g}", f"{row.answered:g}", f"{row.due:g}", f"{row.p50_ms:g}",
             f"{row.p99_ms:g}", ", ".join(f"{count} x {status}" for status, count in row.statuses.items())]
            for row in report.rows
        ],
    )  # fmt: skip
    judged = grid(
        ["promise", "measured", ""],
        [[each.promise, each.measured, "kept" if each.kept else "MISSED"] for each in report.verdicts],
    )
    machine = ", ".join(f"{name}: {value}" for name, value in report.machine.items())
    return f"{head}\n{judged}\n\n{table}\n\n{report.date}; {'; '.join(report.versions)}; {machine}\n"
