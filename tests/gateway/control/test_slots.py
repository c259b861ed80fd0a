"""Rows of the load board: who gets which, how long they rest, and that a restart changes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.control.slots import REST, Slots
from routing.load_board import LoadBoard, Published


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    def __init__(self, rows: int = 4, path: Path | None = None) -> None:
        self.board = LoadBoard.create(None, rows, 2)
        self.clock = Clock()
        self.path = str(path / "slots") if path else None
        self.slots = self.again()

    def again(self) -> Slots:
        return Slots(self.board, self.path, self.clock)


def test_each_has_a_row_of_its_own_and_keeps_it() -> None:
    slots = Bench().slots
    rows = {owner: slots.allot(owner) for owner in (("a",), ("b",), ("a", "m", "1"))}
    assert sorted(rows.values()) == [0, 1, 2]
    assert all(slots.allot(owner) == slots.get(owner) == row for owner, row in rows.items())
    assert slots.get(("c",)) == -1


def test_a_row_rests_before_another_gets_it_and_is_empty_then() -> None:
    bench = Bench(rows=1)
    row = bench.slots.allot(("a",))
    bench.board.publish(row, pending=7, service=1, foreign=2, at=3, own_at=4)
    bench.slots.release(("a",))
    bench.clock.now += REST - 1
    assert bench.slots.allot(("b",)) == -1
    bench.clock.now += 2
    assert bench.slots.allot(("b",)) == row
    assert bench.board.published(row) == Published()


def test_who_comes_back_soon_has_the_same_row() -> None:
    bench = Bench()
    row = bench.slots.allot(("a",))
    bench.slots.release(("a",))
    bench.slots.release(("a",))
    assert bench.slots.get(("a",)) == -1
    assert bench.slots.allot(("b",)) != row
    assert bench.slots.allot(("a",)) == row


def test_a_row_in_which_a_worker_still_counts_is_not_given_away() -> None:
    bench = Bench(rows=1)
    bench.board.worker(1).add(bench.slots.allot(("a",)), 1.0)
    bench.slots.release(("a",))
    bench.clock.now += 2 * REST
    assert bench.slots.allot(("b",)) == -1
    bench.board.worker(1).remove(0, 1.0)
    assert bench.slots.allot(("b",)) == 0


def test_a_full_board_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    slots = Bench(rows=2).slots
    assert [slots.allot((str(index),)) for index in range(5)] == [0, 1, -1, -1, -1]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "2 rows" in caplog.text


def test_a_control_after_this_one_goes_on(tmp_path: Path) -> None:
    bench = Bench(path=tmp_path)
    first, second = bench.slots.allot(("a",)), bench.slots.allot(("a", "m", "1"))
    bench.slots.release(("a", "m", "1"))
    bench.slots.keep()
    after = bench.again()
    assert after.owners() == [("a",)]
    assert after.allot(("a",)) == first
    assert after.allot(("b",)) not in (first, second)
    assert after.allot(("a", "m", "1")) == second


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    bench = Bench(path=tmp_path)
    bench.slots.keep()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_or_written_is_no_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "slots").write_bytes(b"\xff\x00 no msgpack")
    bench = Bench(path=tmp_path)
    assert bench.slots.allot(("a",)) == 0
    (tmp_path / "slots.new").mkdir()
    bench.slots.keep()
    assert [record.message.split()[:2] for record in caplog.records] == [["cannot", "read"], ["cannot", "write"]]


owners = st.sampled_from([(name,) for name in "abcdef"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["allot", "release", "wait"]), owners), max_size=60))
def test_no_row_has_two_owners(steps: list[tuple[str, tuple[str]]]) -> None:
    bench = Bench(rows=3)
    gone: dict[int, tuple[tuple[str], float]] = {}
    for step, owner in steps:
        if step == "wait":
            bench.clock.now += REST / 2
        elif step == "release":
            if (row := bench.slots.get(owner)) >= 0:
                gone[row] = (owner, bench.clock.now)
            bench.slots.release(owner)
        else:
            row = bench.slots.allot(owner)
            before = gone.pop(row, None)
            assert before is None or before[0] == owner or bench.clock.now - before[1] >= REST
        rows = [bench.slots.get(each) for each in bench.slots.owners()]
        assert len(rows) == len(set(rows))
        assert all(0 <= row < 3 for row in rows)
