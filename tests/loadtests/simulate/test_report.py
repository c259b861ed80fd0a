"""A simulation is told as a table, a picture and JSON; a missed aim is told with what bounds it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from loadtests.simulate import __main__ as command
from loadtests.simulate.report import markdown, picture, verdicts, write
from loadtests.simulate.results import AIMS, Document, ScenarioResult, mean
from loadtests.simulate.run import Outcome


def outcome(p99: float) -> Outcome:
    return Outcome(p50=p99 / 2, p99=p99, mean=p99 / 2, utilisation=0.8, service=30.0)


GOOD = ScenarioResult(
    "good",
    "all is well",
    {"ours": outcome(50), "oracle": outcome(40), "two-own": outcome(120), "round-robin": outcome(90)},
)
BAD = ScenarioResult(
    "bad",
    "not well",
    {
        "ours": outcome(100),
        "oracle": outcome(40),
        "informed": outcome(60),
        "two-own": outcome(120),
        "round-robin": outcome(999),
    },
)


def test_ratios_and_what_is_missed() -> None:
    assert GOOD.ratio("oracle") == 1.25
    assert GOOD.ratio("random") is None
    assert GOOD.missed() == []
    assert BAD.missed() == [AIMS[0], AIMS[1]]
    assert msgspec.structs.replace(BAD, owed=False).missed() == []


def test_an_aim_that_the_oracle_misses_too_cannot_be_met() -> None:
    hard = msgspec.structs.replace(BAD, outcomes=BAD.outcomes | {"oracle": outcome(90)})
    assert not BAD.impossible(AIMS[1])
    assert hard.impossible(AIMS[1])
    told = markdown(Document(100, 1, [BAD, hard]))
    assert "0.83, cannot be met" in told
    assert "**0.83, missed**" in told
    assert "it cannot be met: a request that never waits has 0.25; the oracle has 0.75" in told


def test_a_missed_aim_is_told_with_its_bound() -> None:
    told = "\n".join(verdicts(BAD))
    assert "2.50 of oracle" in told
    assert (
        "bounds: a request that never waits has 0.75; all gateways as one, which know others' work as a mean, have 1.50"
        in told
    )
    assert "missed" not in "\n".join(verdicts(GOOD))


def test_the_mean_is_taken_figure_by_figure() -> None:
    assert mean([outcome(40), outcome(60)]) == outcome(50)


def test_three_files_are_written(tmp_path: Path) -> None:
    document = Document(100, 1, [GOOD, BAD])
    paths = write(document, tmp_path)
    assert [path.name for path in paths] == ["simulate.json", "simulate.md", "simulate.svg"]
    assert msgspec.json.decode(paths[0].read_bytes(), type=Document) == document
    assert paths[1].read_text() == markdown(document)
    bars = [each for each in ElementTree.fromstring(picture(document)).iter() if each.tag.endswith("rect")]
    assert len(bars) == 1 + 3 + 4


def test_the_command_runs_one_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--scenario", "few", "--requests", "300", "--out", str(tmp_path)]
    assert command.main([*arguments, "--choice", "ours", "--choice", "oracle"]) == 0
    told = capsys.readouterr()
    assert "expected wait (ours)" in told.out
    assert "4/4" not in told.err
    assert "2/2 few: oracle" in told.err
    assert (tmp_path / "simulate.svg").exists()
