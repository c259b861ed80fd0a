"""Files of a report, and drawing it anew from the JSON."""

from __future__ import annotations

from pathlib import Path

from loadtests.report.__main__ import main, write
from tests.support.bench_document import a_document


def test_a_report_drawn_from_its_json_is_the_same(tmp_path: Path) -> None:
    paths = write(a_document(), tmp_path / "results", "quick")
    before = [path.read_bytes() for path in paths]
    assert [path.name for path in paths] == ["quick.json", "quick.md", "quick.svg"]
    for path in paths[1:]:
        path.unlink()
    assert main([str(paths[0])]) == 0
    assert [path.read_bytes() for path in paths] == before
