"""No window ever has more than its rate times the time and a burst, whatever is asked, settled, or done to the clock;
and the store's script is the same algorithm."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from state.gcra import DEBT, MAX_WINDOWS, Taken, Window, Windows, settle, settle_script, take, take_script, wait_for
from tests.support.valkey import Valkey

windows_of = st.lists(
    st.builds(Window, st.sampled_from([0.001, 0.01, 0.1, 1.0, 7.3]), st.integers(1, 50)),
    min_size=1,
    max_size=MAX_WINDOWS,
).map(tuple)
asks = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60)), min_size=1, max_size=60)


def fresh(windows: Windows, now: float) -> list[float]:
    return [now] * (2 * len(windows))


def check(history: list[tuple[float, float]], windows: Windows) -> None:
    """History of (moment, units): no span has more than rate x length + burst."""
    for interval, burst in windows:
        level, before = 0.0, history[0][0] if history else 0.0
        for moment, units in history:
            level = max(0.0, level - (moment - before) / interval) + units
            before = moment
            assert level <= burst + 1e-3


@given(windows_of, asks)
def test_no_window_has_more_than_its_rate_and_a_burst(windows: Windows, steps: list[tuple[float, int]]) -> None:
    now, history = 1e6, []
    cells = fresh(windows, now)
    for pause, units in steps:
        now += pause
        taken = take(cells, windows, now, units, 1)
        assert 0 <= taken.granted <= units
        history.append((now, taken.granted))
    check(history, windows)


@given(windows_of, asks)
def test_who_waits_as_told_is_let_through_and_nobody_earlier(windows: Windows, steps: list[tuple[float, int]]) -> None:
    now = 1e6
    cells = fresh(windows, now)
    for pause, units in steps:
        now += pause
        taken = take(cells, windows, now, units, units)
        if taken.granted:
            continue
        if math.isinf(taken.wait):
            assert units > min(burst for _, burst in windows)
            continue
        assert taken.wait == pytest.approx(wait_for(taken.leads, windows, units))
        if taken.wait > 1e-3:
            assert not take(list(cells), windows, now + taken.wait * 0.9, units, units).granted
        now += taken.wait + 1e-6
        assert take(cells, windows, now, units, units).granted == units


@given(windows_of, st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60), st.integers(0, 60), st.integers(0, 5))))
def test_settling_never_lets_more_through(windows: Windows, steps: list[tuple[float, int, int, int]]) -> None:
    """Each call reserves, and says some calls later what it used: what was used counts where it was reserved."""
    now = 1e6
    cells = fresh(windows, now)
    history: list[list[float]] = []
    due: list[tuple[int, int, int, Taken]] = []
    for number, (pause, units, used, later) in enumerate(steps):
        now += pause
        for each in [each for each in due if each[0] <= number]:
            due.remove(each)
            _, place, delta, reserved = each
            settle(cells, windows, now, delta, reserved.idles)
            history[place][1] += delta
        taken = take(cells, windows, now, units, units)
        history.append([now, taken.granted])
        if taken.granted:
            due.append((number + 1 + later, number, min(used, units) - units, taken))
    check([(moment, units) for moment, units in history], windows)


def test_nothing_comes_back_that_came_back_by_itself() -> None:
    windows = (Window(1.0, 10),)
    cells = fresh(windows, 0.0)
    taken = take(cells, windows, 0.0, 4, 4)
    take(cells, windows, 100.0, 10, 10)
    assert settle(cells, windows, 100.0, -4, taken.idles) == (10.0,)


def test_a_debt_is_paid_and_no_larger_than_a_burst() -> None:
    windows = (Window(1.0, 10),)
    cells = fresh(windows, 0.0)
    taken = take(cells, windows, 0.0, 10, 10)
    assert settle(cells, windows, 0.0, 3, taken.idles) == (13.0,)
    assert take(cells, windows, 3.5, 1, 1).granted == 0
    assert take(cells, windows, 4.0, 1, 1).granted == 1
    assert settle(cells, windows, 4.0, 1000, taken.idles) == (DEBT * 10,)


@pytest.mark.parametrize("step", [-3600.0, 3600.0, -1e9, 1e9])
def test_a_clock_that_steps_gives_one_burst_at_most(step: float) -> None:
    windows = (Window(0.1, 10),)
    cells, real, offset, granted = fresh(windows, 1e6), 0.0, 1e6, 0
    for number in range(2000):
        real += 0.01
        if number == 1000:
            offset += step
        granted += take(cells, windows, real + offset, 1, 1).granted
    assert granted <= real / 0.1 + 2 * 10 + 1
    assert granted >= real / 0.1 - 2 * 10 - 1


def scripted(link: redis.Redis, script: str, key: str, now: float, *args: float) -> list[float]:
    answer: Any = link.eval(script, 1, key, *map(repr, args), repr(now * 1e6))
    return [float(each) for each in answer]


AT = "local now = tonumber(table.remove(ARGV))\n"
TAKE, SETTLE = take_script(AT), settle_script(AT)


@settings(max_examples=60, deadline=None)
@given(windows_of, st.lists(st.tuples(st.floats(0, 5), *[st.integers(0, 60)] * 2, st.integers(-60, 60)), max_size=15))
def test_the_script_does_the_same(
    link: redis.Redis, windows: Windows, steps: list[tuple[float, int, int, int]]
) -> None:
    link.flushall()
    now, cells = 1e6, fresh(windows, 1e6)
    flat = [each for interval, burst in windows for each in (interval * 1e6, burst)]
    for pause, wanted, less, delta in steps:
        now += pause
        wanted = max(1, wanted)
        least = max(1, wanted - less)
        if link.get("k") is None:
            cells = fresh(windows, now)
        taken = take(cells, windows, now, wanted, least)
        granted, wait, *rest = scripted(link, TAKE, "k", now, wanted, least, *flat)
        assert granted == taken.granted
        assert wait == -1 if math.isinf(taken.wait) else wait == pytest.approx(taken.wait * 1e6, abs=20)
        assert rest[::2] == pytest.approx([lead * 1e6 for lead in taken.leads], abs=20)
        if link.get("k") is None:
            continue
        marks = zip(windows, rest[1::2], strict=True)
        marked = [each for window, mark in marks for each in (window.interval * 1e6, window.burst, mark)]
        leads = settle(cells, windows, now, delta, taken.idles)
        _, _, *rest = scripted(link, SETTLE, "k", now, delta, *marked)
        assert rest[::2] == pytest.approx([lead * 1e6 for lead in leads], abs=30)


@pytest.fixture(scope="module")
def link() -> Any:
    with Valkey() as server:
        yield redis.Redis(unix_socket_path=server.socket)


def test_a_key_goes_when_its_windows_are_whole(link: redis.Redis) -> None:
    link.flushall()
    link.eval(take_script(), 1, "k", 5, 5, repr(0.1e6), 10)
    assert 1000 <= link.pttl("k") <= 1500  # type: ignore[operator]
    link.eval(take_script(), 1, "q", 5, 5, repr(60e6), 10)
    assert 300_000 <= link.pttl("q") <= 301_000  # type: ignore[operator]


@pytest.mark.parametrize("kept", [b"", b"garbage", struct.pack("<dd", math.nan, math.nan), b"\xff" * 64])
def test_garbage_in_the_store_lets_no_more_through(link: redis.Redis, kept: bytes) -> None:
    link.set("k", kept)
    granted = sum(scripted(link, TAKE, "k", 1e6 + number / 100, 1, 1, 0.1e6, 10)[0] for number in range(100))
    assert granted <= 10 + 10 + 1


def test_the_store_s_own_clock_counts(link: redis.Redis) -> None:
    link.flushall()
    answers = [link.eval(take_script(), 1, "k", 1, 1, repr(3600e6), 3) for _ in range(5)]
    assert [each[0] for each in answers] == [1, 1, 1, 0, 0]  # type: ignore[index]
    assert 3500e6 < int(answers[-1][1]) <= 3600e6  # type: ignore[index]
