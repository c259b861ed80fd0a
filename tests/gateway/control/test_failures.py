"""Failures wait, ever longer, and are forgotten when it works."""

from __future__ import annotations

from gateway.control.failures import LONGEST, Failures


def test_the_wait_doubles_up_to_a_bound_and_ends() -> None:
    now = [100.0]
    failures: Failures[str] = Failures(5.0, lambda: now[0])
    assert failures.wait("m") == 0.0
    assert failures.get("m") is None
    waits = []
    for _ in range(10):
        failures.add("m", "no memory")
        waits.append(failures.wait("m"))
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, LONGEST, LONGEST, LONGEST]
    assert failures.wait("other") == 0.0
    now[0] += LONGEST
    assert failures.wait("m") == 0.0
    failure = failures.get("m")
    assert failure is not None
    assert (failure.reason, failure.times) == ("no memory", 10)
    assert failures.items() == [("m", failure)]
    failures.clear("m")
    failures.add("m", "again")
    assert failures.wait("m") == 5.0


def test_only_what_is_wanted_is_kept() -> None:
    failures: Failures[tuple[str, str]] = Failures(1.0, lambda: 0.0)
    failures.add(("a", "m"), "x")
    failures.add(("b", "m"), "y")
    failures.keep(lambda key: key[0] == "b")
    assert [key for key, _ in failures.items()] == [("b", "m")]


def test_a_first_wait_longer_than_the_bound_holds() -> None:
    failures: Failures[str] = Failures(2 * LONGEST, lambda: 0.0)
    failures.add("m", "x")
    failures.add("m", "x")
    assert failures.wait("m") == 2 * LONGEST
