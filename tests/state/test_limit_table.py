"""One table for all workers of a node: no limit is multiplied by them, none is forgotten, and memory is bounded."""

from __future__ import annotations

import fcntl
import multiprocessing
import time
from pathlib import Path

import pytest

from state.gcra import Window
from state.limit_table import BUCKET, CAPACITY, LimitTable
from tests.support.clock import Clock

WINDOW = (Window(0.1, 10),)


class LastLook:
    """The clock of the machine, and when it was last looked at: under the lock, so in the order of what was granted."""

    now = 0.0

    def __call__(self) -> float:
        self.now = time.monotonic()
        return self.now


def spend(path: str, key: str, seconds: float, windows: tuple[Window, ...]) -> list[float]:
    """The moments at which one process had a unit."""
    look = LastLook()
    table = LimitTable.open(path, clock=look)
    until, moments = time.monotonic() + seconds, []
    while time.monotonic() < until:
        if table.take(key, windows, 1, 1).granted:
            moments.append(look.now)
    return moments


def worst_excess(moments: list[float], windows: tuple[Window, ...]) -> float:
    """The most by which any window has more than rate x time + burst."""
    worst = -1e9
    for interval, burst in windows:
        level, before = 0.0, moments[0]
        for moment in moments:  # the largest sum over any span that ends here
            level = max(0.0, level - (moment - before) / interval) + 1
            worst, before = max(worst, level - burst), moment
    return worst


def test_eight_processes_have_one_limit(tmp_path: Path) -> None:
    windows = (Window(0.001, 20), Window(0.002, 200))
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        found = pool.starmap(spend, [(str(tmp_path / "t"), "k", 0.5, windows)] * 8)
    moments = sorted(moment for each in found for moment in each)
    assert len(moments) > 100
    assert worst_excess(moments, windows) <= 1e-3
    assert sum(map(bool, found)) > 1


def test_who_opens_it_again_finds_what_was_used(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    clock = Clock()
    table = LimitTable.open(path, clock=clock)
    assert table.take("k", WINDOW, 10, 10).granted == 10
    table.close()
    again = LimitTable.open(path, clock=clock)
    assert again.take("k", WINDOW, 1, 1).granted == 0
    assert again.take("other", WINDOW, 1, 1).granted == 1
    assert again.used() == 2
    clock.now += 50
    assert again.used() == 0


def test_what_is_reserved_can_be_settled() -> None:
    table = LimitTable.open(None, clock=Clock())
    taken = table.take("k", WINDOW, 8, 8)
    assert table.settle("k", WINDOW, -6, taken.idles) == pytest.approx((0.2,))
    assert table.settle("k", WINDOW, 3, taken.idles) == pytest.approx((0.5,))
    assert table.take("k", WINDOW, 6, 6).granted == 0
    assert table.take("k", WINDOW, 5, 5).granted == 5


def test_when_a_bucket_is_full_the_one_that_used_least_goes() -> None:
    table = LimitTable.open(None, BUCKET, Clock())
    for number in range(BUCKET):
        table.take(f"k{number}", WINDOW, 1 + (number + 3) % 10, 1)
    table.take("new", WINDOW, 10, 1)
    assert table.used() == BUCKET
    forgotten = [n for n in range(BUCKET) if table.take(f"k{n}", WINDOW, 10, 10).granted]
    assert forgotten[:1] == [7]  # it had used one
    assert table.take("new", WINDOW, 1, 1).granted == 0


def test_a_lock_that_is_never_let_go_of_does_not_stop_a_worker(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    ready, done = multiprocessing.Event(), multiprocessing.Event()
    holder = multiprocessing.get_context("fork").Process(target=_hold, args=(path, ready, done))
    holder.start()
    try:
        assert ready.wait(10)
        started = time.monotonic()
        assert LimitTable.open(path).take("k", WINDOW, 1, 1).granted == 1
        assert time.monotonic() - started < 1
    finally:
        done.set()
        holder.join(10)


def _hold(path: str, ready: object, done: object) -> None:
    table = LimitTable.open(path)
    fcntl.lockf(table._descriptor, fcntl.LOCK_EX, CAPACITY, 0)
    ready.set()  # type: ignore[attr-defined]
    done.wait(10)  # type: ignore[attr-defined]


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(bytes(5000))
    with pytest.raises(ValueError, match="is no table of 131072 limits"):
        LimitTable.open(str(tmp_path / "t"))
    with pytest.raises(ValueError, match="expected a multiple of 16, got 3"):
        LimitTable.open(None, 3)
