"""The command line of the benchmark; what it runs is tested part by part."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests import bench
from loadtests.results import Document
from loadtests.workloads.base import Effort
from tests.support.bench_document import a_document


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Effort, str]]:
    """Instead of a run: what it was asked for, and a document without failures."""
    seen: list[tuple[list[str], Effort, str]] = []

    def run(picked: list[bench.Row], effort: Effort, generator: str) -> Document:
        seen.append(([row.name for row in picked], effort, generator))
        document = a_document()
        document.rows[0].failed.clear()
        return document

    monkeypatch.setattr(bench, "run", run)
    return seen


def test_rows_and_rounds(calls: list[tuple[list[str], Effort, str]], tmp_path: Path) -> None:
    arguments = ["--quick", "--only", "small_json", "--rounds", "5", "--generator", "own", "--out", str(tmp_path)]
    assert bench.main(arguments) == 0
    [(names, effort, generator)] = calls
    assert (names, effort.name, effort.rounds, generator) == (["small_json"], "quick", 5, "own")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"quick.small_json.{ending}" for ending in ("json", "md", "svg")
    }


def test_a_missed_aim_counts_only_when_asked(calls: list[object], tmp_path: Path) -> None:
    common = ["--generator", "own", "--out", str(tmp_path)]
    assert bench.main(common) == 0
    assert bench.main([*common, "--check"]) == 1


def test_a_failed_peer_is_a_failed_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "run", lambda *_: a_document())
    assert bench.main(["--generator", "own", "--out", str(tmp_path)]) == 1


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> Document:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    assert bench.main(["--generator", "own"]) == 130
    assert "everything that was started is stopped" in capsys.readouterr().out


def test_unknown_rows_are_refused() -> None:
    with pytest.raises(SystemExit):
        bench.main(["--only", "nonsense"])
