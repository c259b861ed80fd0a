"""The report adds up what the rounds saw, and says what was broken."""

from __future__ import annotations

from collections import Counter

from loadtests.chaos.promises import Growth
from loadtests.chaos.report import report
from loadtests.chaos.rounds import Round


def test_a_report() -> None:
    first = Round("Tritons", Counter({"kill triton 0": 2}), Counter({("rest", "ok"): 5, ("grpc", "unavailable"): 2}))
    first.gateway, first.shares = Counter({"ok": 5, "unavailable": 2}), [0.5, 0.625]
    first.texts = Counter({("unavailable", "UNAVAILABLE: gone"): 2})
    second = Round("everything", Counter({"kill triton 0": 1, "kill control": 1}), Counter({("rest", "ok"): 3}))
    growth = Growth()
    growth.seen["worker 0", 7] = [(80_000_000, 20), (81_000_000, 21)]
    text = report([first, second], growth, [])
    lines = [line.split() for line in text.splitlines()]
    assert ["3", "kill", "triton", "0"] in lines
    assert ["rest", "8", "0", "8"] in lines
    assert ["grpc", "0", "2", "2"] in lines
    assert ["all", "8", "2", "10"] in lines
    assert "     2  unavailable: UNAVAILABLE: gone" in text
    assert "round   1:       7       7      0  Tritons" in text
    assert "not compared: control was killed" in text
    assert "50% 62%" in text
    assert "80.0 →   81.0 MB" in text
    assert text.endswith("every promise was kept")


def test_broken_promises_come_last_and_once() -> None:
    text = report([Round("Tritons")], Growth(), ["rest: TimeoutError", "rest: TimeoutError", "other"])
    assert "3 promises were broken:\n  2 x rest: TimeoutError\n  1 x other" in text
