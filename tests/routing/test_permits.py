"""Never more than the limit, whatever processes do; nothing is left behind by those that end."""

from __future__ import annotations

import multiprocessing
import time
from itertools import accumulate
from pathlib import Path

import pytest

from routing.permits import BUCKET, NOTHING, PermitTable

LIMIT = 5
WORKERS = 8


def storm(path: str, index: int, seconds: float) -> list[tuple[float, float]]:
    """From when until when one worker had permits."""
    permits = PermitTable.open(path, index, WORKERS).hold("k")
    until, had = time.monotonic() + seconds, []
    while time.monotonic() < until:
        if permits.take(LIMIT):
            began = time.monotonic()
            time.sleep(0.0002)
            had.append((began, time.monotonic()))
            permits.give()
    return had


@pytest.mark.slow
def test_eight_workers_never_have_more_than_the_limit(tmp_path: Path) -> None:
    path = str(tmp_path / "p")
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        found = pool.starmap(storm, [(path, index, 0.7) for index in range(WORKERS)])
    had = [each for one in found for each in one]
    steps = sorted([(began, 1) for began, _ in had] + [(ended, -1) for _, ended in had])
    assert len(had) > 50
    assert max(accumulate(step for _, step in steps)) <= LIMIT
    assert PermitTable.open(path, 0, WORKERS).hold("k").in_flight == 0


def test_the_limit_is_that_of_all_workers(tmp_path: Path) -> None:
    path = str(tmp_path / "p")
    one, other = (PermitTable.open(path, index, 2).hold("k") for index in range(2))
    assert [each.take(3) for each in (one, other, one, other, one)] == [True, True, True, False, False]
    assert one.in_flight == other.in_flight == 3
    assert (one.mine, other.mine) == (2, 1)
    one.give()
    assert other.take(3)


def test_keys_have_permits_of_their_own() -> None:
    table = PermitTable.open(None)
    assert table.hold("a").take(1)
    a, b = table.hold("a"), table.hold("b")
    assert b.take(1)
    assert not b.take(1)
    assert a.take(1)  # nobody had the first ones any more


def test_a_worker_that_starts_again_begins_with_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "p")
    other = PermitTable.open(path, 1, 2).hold("k")
    died = PermitTable.open(path, 0, 2).hold("k")
    assert died.take(1)
    assert not other.take(1)
    again = PermitTable.open(path, 0, 2).hold("k")
    assert other.take(1)
    assert not again.take(1)


def test_who_has_the_next_permit(tmp_path: Path) -> None:
    path = str(tmp_path / "p")
    one, two, three = (PermitTable.open(path, index, 3).hold("k") for index in range(3))
    assert one.rival(NOTHING, 1.0) is None
    two.say(1, 2.0)
    assert one.rival(NOTHING, 1.0) == 1
    assert one.rival(2, 1.0) == 1  # more urgent
    assert one.rival(0, 1.0) is None  # less
    assert one.rival(1, 1.0) is None  # as urgent, and none has more
    one.take(9)
    assert one.rival(1, 1.0) == 1
    assert one.rival(1, 2.0) is None  # that is too long ago
    three.say(0, 2.0)
    assert one.rival(NOTHING, 1.0) == 2  # the most urgent
    three.say(NOTHING, 0.0)
    two.say(NOTHING, 0.0)
    assert one.rival(NOTHING, 1.0) is None


def test_rows_are_free_when_nobody_has_them() -> None:
    table = PermitTable.open(None, capacity=BUCKET)
    for number in range(10 * BUCKET):
        permits = table.hold(f"k{number}")
        assert permits.take(1)
        permits.give()
        del permits
    held = [table.hold(f"k{number}") for number in range(BUCKET)]
    assert all(each.take(1) for each in held)
    extra = table.hold("one too many")
    assert extra.take(1)
    assert not extra.take(1)


def test_without_a_row_a_worker_has_its_part_of_the_limit(tmp_path: Path) -> None:
    table = PermitTable.open(str(tmp_path / "p"), 0, 4, BUCKET)
    held = [table.hold(f"k{number}") for number in range(BUCKET)]
    extra = table.hold("one too many")
    assert [extra.take(8) for _ in range(3)] == [True, True, False]
    assert not extra.shared
    assert held[0].shared


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    PermitTable.open(str(tmp_path / "p"), 0, 2).close()
    with pytest.raises(ValueError, match="is no table of 16384 permits for 3 workers"):
        PermitTable.open(str(tmp_path / "p"), 0, 3)
    with pytest.raises(ValueError, match="expected a multiple of 16, got 3"):
        PermitTable.open(None, capacity=3)
