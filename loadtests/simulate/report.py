"""A simulation for readers: Markdown with a table for each scenario, and a picture of p99 beside the oracle's."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loadtests.report.markdown import grid
from loadtests.report.picture import AIM, FAINT, INK, PEER, SUBJECT, line, text
from loadtests.simulate.peers import NAMES
from loadtests.simulate.results import AIMS, OURS, Aim, Document, ScenarioResult

WIDTH, LABELS, PLOT, MARGIN = 900, 260, 480, 20
BAR, STEP, TITLE, GAP = 12, 18, 30, 16
BOUNDS = {
    "service": "a request that never waits has",
    "oracle": "the oracle has",
    "informed": "all gateways as one, which know others' work as a mean, have",
}
SHOWN = 4.0
"""Times the oracle's p99, where a bar is cut off."""


def write(document: Document, folder: Path, stem: str = "simulate") -> list[Path]:
    """Write STEM.json, STEM.md and STEM.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "json": msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n",
        "md": markdown(document),
        "svg": picture(document),
    }
    paths = [folder / f"{stem}.{ending}" for ending in texts]
    for path, content in zip(paths, texts.values(), strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def markdown(document: Document) -> str:
    """Tables of all scenarios, with the aims and what can be said where one is missed."""
    head = (
        "# Choices on paper\n\n"
        f"At least {document.requests:,} requests a run, mean of {document.seeds} seeds; latencies in ms. Times the "
        "p99 of the oracle, which sees all queues.\n"
    )
    return "\n".join([head, _summary(document), "", *(_section(scenario) for scenario in document.scenarios)])


def _summary(document: Document) -> str:
    """All scenarios in one table: our p99 and the three ratios."""
    rows = []
    for scenario in document.scenarios:
        ours = scenario.outcomes.get(OURS)
        if ours:
            cells = [_cell(scenario, aim) for aim in AIMS]
            rows.append([scenario.title, f"{ours.p99:,.1f}", *cells])
    return grid(["scenario", "our p99", *(f"× {NAMES[aim.peer]} (≤ {aim.limit:g})" for aim in AIMS)], rows)


def _cell(scenario: ScenarioResult, aim: Aim) -> str:
    ratio = scenario.ratio(aim.peer)
    if ratio is None:
        return ""
    if aim not in scenario.missed():
        return f"{ratio:.2f}"
    return f"{ratio:.2f}, cannot be met" if scenario.impossible(aim) else f"**{ratio:.2f}, missed**"


def _section(scenario: ScenarioResult) -> str:
    oracle = scenario.outcomes.get("oracle")
    cold = any(outcome.recovered >= 0 for outcome in scenario.outcomes.values())
    rows = [
        [
            f"**{NAMES[name]}**" if name == OURS else NAMES[name],
            f"{outcome.p50:,.1f}",
            f"{outcome.p99:,.1f}",
            f"{outcome.p99 / oracle.p99:,.2f}" if oracle else "",
            f"{outcome.utilisation:.0%}",
            *([f"{outcome.recovered:.0f}" if outcome.recovered >= 0 else "never"] if cold else []),
        ]
        for name, outcome in sorted(scenario.outcomes.items(), key=lambda item: item[1].p99)
    ]
    table = grid(["choice", "p50", "p99", "× oracle", "utilisation", *(["fair after, s"] if cold else [])], rows)
    return "\n".join([f"## {scenario.title} (`{scenario.name}`)\n", table, "", *verdicts(scenario), ""])


def verdicts(scenario: ScenarioResult) -> list[str]:
    """A line for each aim, and for one that is missed what bounds it."""
    lines = []
    for aim in AIMS if scenario.owed else ():
        ratio = scenario.ratio(aim.peer)
        if ratio is None:
            continue
        met = aim not in scenario.missed()
        lines.append(f"* {ratio:.2f} of {NAMES[aim.peer]}, aim ≤ {aim.limit:g}: {'met' if met else '**missed**'}")
        if not met:
            told = "; ".join(f"{BOUNDS[name]} {bound:.2f}" for name, bound in scenario.bounds(aim).items())
            lines.append(f"  * {'it cannot be met' if scenario.impossible(aim) else 'bounds'}: {told}")
    return lines


def picture(document: Document) -> str:
    """Bars of p99 as multiples of the oracle's, a panel for each scenario."""
    parts: list[str] = []
    top = float(MARGIN)
    for scenario in document.scenarios:
        if "oracle" in scenario.outcomes:
            panel, top = _panel(scenario, top)
            parts.append(panel)
    height = top + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="system-ui, sans-serif">',
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
            *parts,
            text(MARGIN, top, "p99 as a multiple of an oracle's that sees all queues; dashed: the aim", FAINT, 11),
            "</svg>\n",
        ]
    )


def _panel(scenario: ScenarioResult, top: float) -> tuple[str, float]:
    oracle = scenario.outcomes["oracle"].p99
    bars = sorted((outcome.p99 / oracle, name) for name, outcome in scenario.outcomes.items() if name != "oracle")
    first = top + TITLE
    parts = [text(MARGIN, top + 14, scenario.title, INK, 13, bold=True)]
    for index, (ratio, name) in enumerate(bars):
        parts.append(_bar(ratio, name, first + STEP * index))
    bottom = first + STEP * len(bars)
    if scenario.owed:
        x = LABELS + PLOT * AIMS[0].limit / SHOWN
        parts.append(line(x, first - 4, x, bottom - 2, AIM, 'stroke-dasharray="5 4"'))
    return "\n".join(parts), bottom + GAP


def _bar(ratio: float, name: str, top: float) -> str:
    width = PLOT * min(ratio, SHOWN) / SHOWN
    fill = SUBJECT if name == OURS else PEER
    figure = f"{ratio:,.2f}" if ratio <= SHOWN else f"{ratio:,.3g} →"
    return "\n".join(
        [
            text(LABELS - 8, top + BAR - 2, NAMES[name], INK, 11, bold=name == OURS, anchor="end"),
            f'<rect x="{LABELS}" y="{top:.1f}" width="{width:.1f}" height="{BAR}" rx="2" fill="{fill}"/>',
            text(LABELS + width + 6, top + BAR - 2, figure, INK, 11, bold=name == OURS),
        ]
    )
