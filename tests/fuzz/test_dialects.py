"""A short run of the fuzzer, so that it keeps working and each change meets some thousand inputs."""

from __future__ import annotations

import pytest

from tests.fuzz import dialects


def test_a_short_run_keeps_every_promise() -> None:
    counts = dialects.run(3000, seed=1)
    for target in dialects.CHECKS:
        assert counts[f"{target}: accepted"] > 0, counts
    assert counts["json request: refused"] > 0
    assert counts["grpc request: refused"] > 0


def test_seeds_themselves_are_accepted() -> None:
    for target, items in dialects.seeds().items():
        assert all(map(dialects.CHECKS[target], items)), target


def test_a_broken_promise_is_told_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects.CHECKS, "grpc reply", lambda data: data[1_000_000] == 0)
    with pytest.raises(dialects.BrokenPromise, match=r"^grpc reply, input [0-9]+ of seed 1: b'"):
        dialects.run(200, seed=1)
