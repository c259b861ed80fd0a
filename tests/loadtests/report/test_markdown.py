"""The Markdown report against a golden file. After a deliberate change write the golden file anew and read it."""

from __future__ import annotations

from pathlib import Path

from loadtests.report import markdown
from tests.support.bench_document import a_document

GOLDEN = Path(__file__).parent / "golden.md"


def test_report_is_the_golden_file() -> None:
    assert markdown.render(a_document()) == GOLDEN.read_text(encoding="utf-8")


def test_rows_without_peers_still_render() -> None:
    document = a_document()
    document.rows[0].samples.clear()
    assert "| small: CPU vs Envoy | ≤ 0.55 |  | not measured | ≤ 0.3 |" in markdown.render(document)


def test_peers_without_the_metric_come_last() -> None:
    assert markdown.ordered(a_document().rows[0]) == ["penstock", "envoy", "direct"]
