"""The picture: well-formed SVG whose bars have the lengths of their figures, and the golden file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtests.report import picture
from tests.support.bench_document import a_document, a_document_with_shares

GOLDEN = Path(__file__).parent / "golden.svg"
SVG = "{http://www.w3.org/2000/svg}"


def test_picture_is_the_golden_file() -> None:
    assert picture.render(a_document()) == GOLDEN.read_text(encoding="utf-8")


def test_bars_are_to_scale() -> None:
    """In the first panel the largest figure is 100, so it fills the plot and 40 takes two fifths of it."""
    root = ElementTree.fromstring(picture.render(a_document()))
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")][1:3]
    assert widths == pytest.approx([picture.PLOT * 0.4, picture.PLOT], abs=0.1)


def test_the_aim_is_marked_in_the_rows_own_unit() -> None:
    root = ElementTree.fromstring(picture.render(a_document()))
    marks = [line for line in root.iter(f"{SVG}line") if "stroke-dasharray" in line.attrib]
    assert float(marks[0].attrib["x1"]) == pytest.approx(picture.LABELS + picture.PLOT * 0.55, abs=0.1)
    assert len(marks) == 2


def test_text_is_escaped() -> None:
    assert "Idle &lt;connections&gt;" in picture.render(a_document())


def test_a_run_without_figures_is_a_picture_too() -> None:
    document = a_document()
    document.rows.clear()
    assert ElementTree.fromstring(picture.render(document)).tag == f"{SVG}svg"


def test_shares_divide_a_bar() -> None:
    """In the order of the first panel, side by side from the same place; too small a part has no figure."""
    root = ElementTree.fromstring(picture.render(a_document_with_shares()))
    bars = [each.attrib for each in root.iter(f"{SVG}rect") if each.attrib["fill"] in picture.PARTS]
    parts = [bar for bar in bars if float(bar["height"]) == picture.BAR]
    plot = picture.PLOT
    widths = [float(bar["width"]) for bar in parts]
    assert widths == pytest.approx([0.04 * plot, 0.96 * plot, 0.5 * plot, 0.5 * plot, 0, 0], abs=0.1)
    assert float(parts[1]["x"]) == pytest.approx(picture.LABELS + 0.04 * plot, abs=0.1)
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert {"Triton 1, slow", "Triton 2", "96", "50"} <= set(texts)
    assert "4" not in texts


def test_panels_do_not_overlap() -> None:
    with_shares, without = (ElementTree.fromstring(picture.render(d)) for d in (a_document_with_shares(), a_document()))
    panel = picture.TITLE + 3 * picture.STEP + picture.GAP
    assert float(with_shares.attrib["height"]) == float(without.attrib["height"]) + panel


def test_a_bar_that_dwarfs_the_others_is_cut() -> None:
    document = a_document()
    document.rows[0].samples["direct"]["cpu_us"] = [5000.0] * 3
    root = ElementTree.fromstring(picture.render(document))
    bars = {bar.attrib["fill"]: float(bar.attrib["width"]) for bar in list(root.iter(f"{SVG}rect"))[1:4]}
    assert bars == pytest.approx(
        {picture.SUBJECT: picture.PLOT * 0.4, picture.PEER: picture.PLOT, "url(#fade)": picture.PLOT}, abs=0.1
    )
    assert "5,000" in [each.text for each in root.iter(f"{SVG}text")]
