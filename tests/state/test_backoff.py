"""Waits between tries."""

from __future__ import annotations

from state.backoff import Backoff


def test_doubles_to_the_cap_and_begins_again() -> None:
    backoff = Backoff(0.1, 1.0, uniform=lambda low, high: high)
    assert [backoff.next() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.next() == 0.1


def test_jitter_shortens_by_up_to_a_half() -> None:
    waits = {Backoff(1.0, 1.0).next() for _ in range(200)}
    assert min(waits) >= 0.5
    assert max(waits) <= 1.0
    assert len(waits) > 100
