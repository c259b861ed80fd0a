"""What the benchmark of models on demand makes of its traffic and its outcome; it itself is run end to end."""

from __future__ import annotations

from collections import Counter

import pytest

from loadtests.on_demand import Outcome, Traffic, ideal_hit_rate, report


def test_the_traffic_is_as_zipf_says() -> None:
    traffic = Traffic(models=3, rate=1000.0, seconds=20.0, skew=1.0)
    schedule = traffic.schedule()
    assert len(schedule) == pytest.approx(20_000, rel=0.05)
    shares = Counter(model for _, model in schedule)
    assert [shares[name] / len(schedule) for name in traffic.names()] == pytest.approx(
        [6 / 11, 3 / 11, 2 / 11], rel=0.05
    )
    assert schedule == traffic.schedule()


def test_a_cache_with_room_for_all_misses_each_model_once() -> None:
    traffic = Traffic(models=5, room=3, tritons=2, rate=100.0)
    assert ideal_hit_rate(traffic) == 1 - 5 / len(traffic.schedule())
    assert ideal_hit_rate(Traffic(room=2)) < ideal_hit_rate(Traffic(room=4)) < 1


def test_the_slowest_are_those_that_waited() -> None:
    outcome = Outcome(Traffic(), seconds=[0.001, 3.0, 0.002, 4.0, 0.003], late=1, waits=3, loads=2)
    outcome.told["hit_rate"] = 0.5
    assert outcome.hit_rate == 0.5
    assert outcome.parts() == ([0.001, 0.002, 0.003], [3.0, 4.0])
    outcome.failures["UNAVAILABLE: no"] += 2
    text = report(outcome)
    assert "requests 8: 5 answered, 1 past their deadline, 2 failed" in text
    assert "2 x UNAVAILABLE: no" in text
