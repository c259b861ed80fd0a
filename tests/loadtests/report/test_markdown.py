"""The Markdown report against a golden file. After a deliberate change write the golden file anew and read it."""

from __future__ import annotations

from pathlib import Path

from loadtests.report import markdown
from tests.support.bench_document import a_document, a_document_with_shares

GOLDEN = Path(__file__).parent / "golden.md"


def test_report_is_the_golden_file() -> None:
    assert markdown.render(a_document()) == GOLDEN.read_text(encoding="utf-8")


def test_rows_without_peers_still_render() -> None:
    document = a_document()
    document.rows[0].samples.clear()
    assert "| small: CPU vs Envoy | ≤ 0.55 |  | not measured | ≤ 0.3 |" in markdown.render(document)


def test_peers_without_the_metric_come_last() -> None:
    assert markdown.ordered(a_document().rows[0]) == ["penstock", "envoy", "direct"]


def test_shares_are_columns() -> None:
    text = markdown.render(a_document_with_shares())
    assert "| p50, ms | Triton 1, slow: % | Triton 2: % | Penstock ÷ peer" in text
    assert "| **Penstock** | 40.0 (30.0 to 50.0) | 0.40 | 4.00 | 96.0 |  |" in text


def test_how_it_was_measured() -> None:
    text = markdown.render(a_document_with_shares())
    assert text.startswith("# Another benchmark, quick run of 2026-01-02\n\nBy hand.\n")
    assert "* Load: open loop; 12 s in all" in text
