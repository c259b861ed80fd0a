"""From answers to figures: shares, fairness, and what is promised."""

from __future__ import annotations

import msgspec
import pytest

from loadtests.overload.clients import Answer, Group
from loadtests.overload.figures import Report, Row, fair_shares, fairness, jain, render, rows, verdicts

A, B, C = Group("a", "low"), Group("b", "low"), Group("c", "low")


def test_fair_shares_are_equal_but_for_those_who_want_less() -> None:
    assert fair_shares({A: 100, B: 100}, 50) == {A: 25, B: 25}
    assert fair_shares({A: 100, B: 10}, 50) == {A: 40, B: 10}
    assert fair_shares({A: 100, B: 10, C: 20}, 36) == {B: 10, C: 13, A: 13}
    assert fair_shares({A: 5, B: 10}, 50) == {A: 5, B: 10}


def test_jain_s_index() -> None:
    assert jain([1.0, 1.0, 1.0]) == 1
    assert jain([1.0, 0.0]) == pytest.approx(0.5)
    assert jain([0.0]) == 1


def answers() -> list[Answer]:
    low = [Answer(A, 0.0, 200 if n < 10 else 503, 0.1 * n, 0.0, None, "") for n in range(20)]
    return [*low, *(Answer(B, 0.0, 200, 0.5, 0.0, None, "") for _ in range(10)), Answer(B, 0.0, 0, 9.0, 0.0, None, "")]


def test_rows() -> None:
    found = rows(answers(), 10.0)
    assert [(row.tenant, row.asked, row.answered, row.due) for row in found] == [("a", 2, 1, 1), ("b", 1.1, 1, 1)]
    assert found[0].p99_ms == 900
    assert found[0].statuses == {"200": 10, "503": 10}
    assert found[1].statuses == {"200": 10, "none": 1}
    assert fairness(found) == {"low": 1.0}


def a_report(**more: object) -> Report:
    row = Row("low", "a", 2.0, 1.0, 1.0, 10.0, 20.0, {"200": 1})
    report = Report(
        date="2026-01-01", machine={"cores": "2"}, versions=["x"], seconds=10.0, capacity=100.0, offered=300.0,
        throughput=98.0, unloaded_p99_ms=100.0, loaded_p99_ms=120.0, fairness={"low": 0.99}, ran_late=0, most_waiting=5,
        resident_mib=[50.0, 51.0, 51.0], held_after=0.0, rows=[row], verdicts=[],
    )  # fmt: skip
    return msgspec.structs.replace(report, **more)


def test_promises_that_are_kept() -> None:
    assert all(each.kept for each in verdicts(a_report(), 5))


@pytest.mark.parametrize(
    ("place", "more"),
    [
        (0, {"loaded_p99_ms": 131.0}),
        (1, {"fairness": {"low": 0.94, "high": 1.0}}),
        (2, {"ran_late": 1}),
        (3, {"throughput": 94.0}),
        (4, {"most_waiting": 6}),
        (5, {"resident_mib": [50.0, 51.0, 60.0]}),
        (6, {"held_after": 1.0}),
    ],
)
def test_promises_that_are_not(place: int, more: dict[str, object]) -> None:
    judged = verdicts(a_report(**more), 5)
    assert [each.kept for each in judged] == [number != place for number in range(7)]


def test_it_reads_well() -> None:
    report = a_report()
    text = render(msgspec.structs.replace(report, verdicts=verdicts(report, 5)))
    assert "3.0 x what the backend can do (100 a second)" in text
    assert "| low | a | 2 | 1 | 1 | 10 | 20 | 1 x 200 |" in text
    assert text.count("kept") == 7
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
