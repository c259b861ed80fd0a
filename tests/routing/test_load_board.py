"""What one process writes to the board, the others read; counts come back to exactly nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from routing.load_board import LoadBoard, Published

SLOTS = 1000


@pytest.fixture(params=["file", "memory"])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> LoadBoard:
    path = str(tmp_path / "board") if request.param == "file" else None
    return LoadBoard.create(path, slots=SLOTS, workers=3)


def test_an_empty_board_knows_nothing(board: LoadBoard) -> None:
    assert board.published(SLOTS - 1) == Published(0, 0, 0, 0, 0)
    assert (board.in_flight(0), board.seconds(0)) == (0, 0.0)


def test_what_is_published_is_read_back_from_its_slot_only(board: LoadBoard) -> None:
    board.publish(7, pending=3, service=0.02, foreign=0.04, at=123.5, own_at=1)
    assert board.published(7) == Published(pending=3, service=0.02, foreign=0.04, at=123.5, own_at=1)
    assert (board.service(7), board.foreign(7), board.at(7)) == (0.02, 0.04, 123.5)
    assert board.published(6) == board.published(8) == Published()
    board.publish(7)
    assert board.published(7) == Published()


def test_load_is_the_sum_over_workers(board: LoadBoard) -> None:
    board.worker(0).add(5, 0.25)
    board.worker(2).add(5, 0.5)
    board.worker(2).add(5, 0.5)
    board.worker(1).add(6, 9.0)
    assert (board.in_flight(5), board.seconds(5)) == (3, 1.25)
    board.worker(2).remove(5, 0.5)
    assert (board.in_flight(5), board.seconds(5)) == (2, 0.75)


def test_rounding_leaves_nothing_behind(board: LoadBoard) -> None:
    worker = board.worker(1)
    for seconds in (0.1, 0.2, 0.7):
        worker.add(0, seconds)
    for seconds in (0.7, 0.1, 0.2):
        worker.remove(0, seconds)
    assert (board.in_flight(0), board.seconds(0)) == (0, 0.0)


def test_every_cell_is_its_own(board: LoadBoard) -> None:
    for slot in range(SLOTS):
        board.publish(slot, pending=slot, service=slot + 0.1, foreign=slot + 0.2, at=slot + 0.3, own_at=slot + 0.4)
        for index in range(3):
            board.worker(index).add(slot, slot * 10.0 + index)
    for slot in range(SLOTS):
        assert board.published(slot) == (slot, slot + 0.1, slot + 0.2, slot + 0.3, slot + 0.4)
        assert (board.in_flight(slot), board.seconds(slot)) == (3, slot * 30.0 + 3)


def test_a_worker_that_begins_clears_its_own_cells_only(board: LoadBoard) -> None:
    board.publish(3, pending=4)
    board.worker(0).add(3, 1.0)
    board.worker(1).add(3, 2.0)
    board.worker(1).clear()
    assert (board.in_flight(3), board.seconds(3), board.published(3).pending) == (1, 1.0, 4)


def test_a_board_has_cells_for_so_many_workers_and_slots_only(board: LoadBoard) -> None:
    with pytest.raises(IndexError):
        board.worker(3)
    with pytest.raises(IndexError):
        board.in_flight(SLOTS)


WORKER = """
import sys
from routing.load_board import LoadBoard
board = LoadBoard.attach(sys.argv[1])
worker = board.worker(1)
worker.clear()
for _ in range(100):
    worker.add(9, 0.5)
for _ in range(40):
    worker.remove(9, 0.5)
print(board.slots, board.workers, board.published(9).pending, board.in_flight(9), flush=True)
sys.stdin.readline()
worker.remove(9, 0.5)
print(board.published(9).pending, flush=True)
sys.stdin.readline()
"""


def test_two_processes_see_each_other(tmp_path: Path) -> None:
    path = str(tmp_path / "board")
    board = LoadBoard.create(path, slots=64, workers=2)
    board.publish(9, pending=7)
    board.worker(0).add(9, 1.0)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", WORKER, path]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["64", "2", "7.0", "61"]
        assert (board.in_flight(9), board.seconds(9)) == (61, 31.0)
        board.publish(9, pending=8)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().split() == ["8.0"]
        assert board.in_flight(9) == 60
        process.kill()
    assert board.in_flight(9) == 60, "what a killed worker had in flight stays until its successor clears it"
    LoadBoard.attach(path).worker(1).clear()
    assert (board.in_flight(9), board.seconds(9)) == (1, 1.0)


def test_a_large_board_takes_no_room_until_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "board"
    LoadBoard.create(str(path), slots=1_000_000, workers=8)
    assert path.stat().st_size > 160_000_000
    assert path.stat().st_blocks * 512 < 1_000_000
    assert path.stat().st_mode & 0o777 == 0o600


def test_creating_anew_leaves_what_is_attached_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "board")
    old = LoadBoard.create(path, slots=4, workers=1)
    new = LoadBoard.create(path, slots=8, workers=2)
    new.publish(1, pending=5)
    assert old.published(1).pending == 0
    assert LoadBoard.attach(path).published(1).pending == 5


def test_only_a_board_can_be_attached(tmp_path: Path) -> None:
    path = tmp_path / "other"
    with pytest.raises(OSError):
        LoadBoard.attach(str(path))
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="no load board"):
        LoadBoard.attach(str(path))
    LoadBoard.create(str(path), slots=4, workers=1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut short"):
        LoadBoard.attach(str(path))
