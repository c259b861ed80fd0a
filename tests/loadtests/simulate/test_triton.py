"""A modelled Triton serves first come, first served, in batches of one model, and counts as Triton does."""

from __future__ import annotations

import pytest

from loadtests.simulate.events import Events
from loadtests.simulate.triton import Batching, Job, Server


def served(server: Server, events: Events, jobs: list[tuple[float, str, float]]) -> list[float]:
    ends: dict[int, float] = {}
    for number, (when, model, size) in enumerate(jobs):

        def done(number: int = number) -> None:
            ends[number] = events.now

        events.at(when, server.submit, Job(model, size, done))
    while events.step():
        pass
    assert server.in_system == 0
    return [ends[number] for number in range(len(jobs))]


def test_requests_wait_for_those_before_them() -> None:
    events = Events()
    assert served(Server(events), events, [(0, "m", 2), (1, "m", 2), (9, "m", 1)]) == [2, 4, 10]


def test_instances_work_at_once_and_speed_divides() -> None:
    events = Events()
    assert served(Server(events, speed=0.5, parallel=2), events, [(0, "m", 1)] * 3) == [2, 2, 4]


def test_what_waits_of_one_model_runs_together() -> None:
    events = Events()
    server = Server(events, batching=Batching(4, 0.5))
    jobs = [(0.0, "m", 1.0), (0.1, "m", 1.0), (0.2, "m", 1.0), (0.3, "n", 1.0), (0.4, "m", 1.0)]
    assert served(server, events, jobs) == pytest.approx([1, 2.5, 2.5, 3.5, 4.5])
    assert server.executed == {"m": 4, "n": 1}
    assert server.executions == {"m": 3, "n": 1}
    assert server.compute["m"] == pytest.approx(1 + 2 * 1.5 + 1)
    assert server.waiting.total() == 0


def test_the_first_execution_may_take_longer() -> None:
    events = Events()
    ended: list[float] = []
    server = Server(events, cold=5.0)
    for _ in range(3):
        server.submit(Job("m", 0.1, lambda: ended.append(events.now)))
    while events.step():
        pass
    assert ended == pytest.approx([5.0, 5.1, 5.2])
