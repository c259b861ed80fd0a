"""What a model takes anywhere is the mean over recent requests, and forgotten with the last that keeps it."""

from __future__ import annotations

import pytest

from gateway.control.typical import RECENT, Typical, Typicals


def test_requests_count_alike_while_they_are_recent() -> None:
    typical = Typical()
    typical.learn(0.1, 1, 0.0)
    typical.learn(0.4, 2, 0.0)
    assert typical.seconds == pytest.approx(0.3)
    assert typical.requests == 3


def test_what_was_long_ago_counts_less() -> None:
    typical = Typical()
    typical.learn(5.0, 1, 0.0)
    for step in range(100):
        typical.learn(0.02, 10, step * 0.1)
    assert typical.seconds == pytest.approx(0.02, rel=0.3)
    typical.learn(0.5, 1, 100 * RECENT)
    assert typical.seconds == pytest.approx(0.5), "after a long rest the next one tells"


def test_a_model_has_one_for_as_long_as_somebody_keeps_it() -> None:
    typicals = Typicals()
    kept = typicals.of(("m", "1"))
    assert typicals.of(("m", "1")) is kept
    assert typicals.of(("m", "2")) is not kept
    assert len(typicals) == 1
    del kept
    assert len(typicals) == 0
