"""A run as a picture: one panel of bars for each row, drawn as plain SVG.

A bar is the median over the rounds, the thin line across its end the lowest and the highest; one that is many times as
long as most ends in a fade. A dashed line marks the aim: the figure that the subject owes. A row with shares has a
second panel, of bars that are divided by their medians.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from xml.sax.saxutils import escape

from loadtests.measure import Spread
from loadtests.report.markdown import HEADINGS, ordered
from loadtests.results import Document, RowResult

WIDTH, LABELS, PLOT, FIGURES = 860, 230, 500, 110
BAR, STEP, TITLE, GAP, MARGIN = 16, 24, 46, 26, 20
SUBJECT, PEER, INK, FAINT, AIM = "#0b7285", "#adb5bd", "#212529", "#868e96", "#c92a2a"
PARTS = ("#ffc078", "#a5d8ff", "#d0ebff", "#ffa8a8", "#d3f9d8", "#e5dbff")
CUT = 4.0
"""Times the median of the bars, above which a bar does not set the scale."""
READABLE = 6
"""Percent, below which a part has no room for its figure."""
_FADE = (
    f'<defs><linearGradient id="fade"><stop offset="0.7" stop-color="{PEER}"/>'
    '<stop offset="1" stop-color="#ffffff"/></linearGradient></defs>'
)


@dataclass(frozen=True)
class _Bar:
    label: str
    figure: Spread
    subject: bool


def render(document: Document) -> str:
    """The SVG document."""
    parts: list[str] = []
    top = MARGIN
    for row in document.rows:
        bars = _bars(document, row)
        if bars:
            parts.append(_panel(row, bars, _owed(document, row), top))
            top += TITLE + STEP * len(bars) + GAP
        if bars and row.shares:
            parts.append(_shares(document, row, top))
            top += TITLE + STEP * len(row.samples) + GAP
    subject = document.labels[document.subject]
    caption = f"{document.effort} run, {document.date}; median and range over rounds; dashed: {subject}'s aim, or less"
    parts.append(text(MARGIN, top, caption, FAINT, 11))
    height = top + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *([_FADE] if "url(#fade)" in "".join(parts) else []),
            *parts,
            "</svg>\n",
        ]
    )


def _bars(document: Document, row: RowResult) -> list[_Bar]:
    figures = [(peer, row.spread(peer, row.primary)) for peer in ordered(row)]
    return [_Bar(document.labels[p], figure, p == document.subject_of(row)) for p, figure in figures if figure]


def _owed(document: Document, row: RowResult) -> float | None:
    """The aim in the row's own unit: the limit times the peer's median, or the limit itself."""
    for aim in document.aims:
        if aim.row == row.name and aim.metric == row.primary:
            peer = row.spread(aim.peer, aim.metric) if aim.peer else None
            return aim.limit if aim.peer is None else aim.limit * peer.median if peer else None
    return None


def _panel(row: RowResult, bars: list[_Bar], owed: float | None, top: float) -> str:
    cut = CUT * median(bar.figure.median for bar in bars)
    largest = max([bar.figure.high for bar in bars if bar.figure.median <= cut] + ([owed] if owed else []))
    scale = PLOT / largest if largest > 0 else 0.0
    first = top + TITLE
    parts = [
        text(MARGIN, top + 14, row.title, INK, 14, bold=True),
        text(MARGIN, top + 32, HEADINGS[row.primary], FAINT, 12),
        *(_bar(bar, scale, first + STEP * index) for index, bar in enumerate(bars)),
    ]
    if owed:
        x = LABELS + owed * scale
        parts.append(line(x, first - 4, x, first + STEP * len(bars) - 4, AIM, 'stroke-dasharray="5 4"'))
    return "\n".join(parts)


def _bar(bar: _Bar, scale: float, top: float) -> str:
    middle = top + BAR / 2
    low, end, high = (_place(value, scale) for value in (bar.figure.low, bar.figure.median, bar.figure.high))
    cut = bar.figure.median * scale > PLOT
    fill = "url(#fade)" if cut else SUBJECT if bar.subject else PEER
    rectangle = f'<rect x="{LABELS}" y="{top:.1f}" width="{end - LABELS:.1f}" height="{BAR}" rx="2" fill="{fill}"/>'
    return "\n".join(
        [
            text(LABELS - 8, middle + 4, bar.label, INK, 12, bold=bar.subject, anchor="end"),
            rectangle,
            *([] if cut else [line(low, middle, high, middle, INK)]),
            text(max(end, high) + 8, middle + 4, _figure(bar.figure.median), INK, 12, bold=bar.subject),
        ]
    )


def _place(value: float, scale: float) -> float:
    """Where a figure is on the axis; what does not fit is at its end."""
    return LABELS + min(PLOT, max(0.0, value) * scale)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _shares(document: Document, row: RowResult, top: float) -> str:
    """The panel of the shares: what each part is, then a bar for each peer."""
    parts = [text(MARGIN, top + 14, "Shares of the requests, %", FAINT, 12)]
    for index, name in enumerate(row.shares.values()):
        x = MARGIN + (WIDTH - 2 * MARGIN) / len(row.shares) * index
        parts += [_part(x, top + 23, 10, 10, index), text(x + 15, top + 32, name, FAINT, 12)]
    for index, peer in enumerate(ordered(row)):
        label, y = document.labels[peer], top + TITLE + STEP * index
        parts.append(
            text(LABELS - 8, y + BAR / 2 + 4, label, INK, 12, bold=peer == document.subject_of(row), anchor="end")
        )
        parts += _divided(row, peer, y)
    return "\n".join(parts)


def _divided(row: RowResult, peer: str, top: float) -> list[str]:
    parts = []
    x = float(LABELS)
    for index, metric in enumerate(row.shares):
        figure = row.spread(peer, metric)
        percent = figure.median if figure else 0.0
        width = PLOT * percent / 100
        parts.append(_part(x, top, width, BAR, index))
        if percent >= READABLE:
            parts.append(text(x + width / 2, top + BAR / 2 + 4, f"{percent:.0f}", INK, 11, anchor="middle"))
        x += width
    return parts


def _part(x: float, y: float, width: float, height: float, index: int) -> str:
    fill = PARTS[index % len(PARTS)]
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{fill}"/>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    """A straight line; `more` are further attributes."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>'


def text(x: float, y: float, text: str, colour: str, size: int, *, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )
