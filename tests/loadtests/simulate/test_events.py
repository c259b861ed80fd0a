"""Events happen in order, and time stands where the last one was."""

from __future__ import annotations

from loadtests.simulate.events import Events


def test_events_happen_in_order_of_time_then_of_calls() -> None:
    events, seen = Events(), []
    events.at(2.0, seen.append, "c")
    events.at(1.0, seen.append, "a")
    events.at(1.0, seen.append, "b")
    events.at(1.0, lambda: events.after(0.5, lambda: seen.append(events.clock())))
    while events.step():
        pass
    assert seen == ["a", "b", 1.5, "c"]
    assert (events.now, events.done) == (2.0, 5)
