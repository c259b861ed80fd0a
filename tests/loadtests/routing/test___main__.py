"""The command line of the routing benchmark; what it runs is tested part by part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from loadtests.results import Document
from loadtests.routing import __main__ as command
from loadtests.routing.rounds import Effort
from loadtests.routing.scenarios import Scenario
from tests.support.bench_document import a_document

Calls = list[tuple[list[str], Effort]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Instead of a run: what it was asked for, and a document without failures."""
    seen: Calls = []

    def run(picked: Sequence[Scenario], effort: Effort) -> Document:
        seen.append(([each.name for each in picked], effort))
        document = a_document()
        document.effort = effort.name
        document.rows[0].failed.clear()
        return document

    monkeypatch.setattr(command, "run", run)
    return seen


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_scenarios_and_rounds(calls: Calls, tmp_path: Path) -> None:
    assert command.main(["--quick", "--only", "slow", "--only", "both", "--rounds", "7", "--out", str(tmp_path)]) == 0
    [(picked, effort)] = calls
    assert (picked, effort.name, effort.rounds) == (["slow", "both"], "quick", 7)
    assert names(tmp_path) == {"quick.routing.json", "quick.routing.md", "quick.routing.svg"}


def test_all_of_it(calls: Calls, tmp_path: Path) -> None:
    assert command.main(["--out", str(tmp_path)]) == 0
    assert calls[0][0] == ["slow", "loaded", "both"]
    assert names(tmp_path) == {"routing.json", "routing.md", "routing.svg"}


def test_a_missed_aim_counts_only_when_asked(calls: Calls, tmp_path: Path) -> None:
    assert command.main(["--out", str(tmp_path)]) == 0
    assert command.main(["--out", str(tmp_path), "--check"]) == 1


def test_a_failed_peer_is_a_failed_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*_: object) -> Document:
        document = a_document()
        document.effort = "full"
        return document

    monkeypatch.setattr(command, "run", run)
    assert command.main(["--out", str(tmp_path)]) == 1


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> Document:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    assert command.main([]) == 130
    assert "everything that was started is stopped" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--only", "nonsense"], ["--rounds", "0"]])
def test_other_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(arguments)
