"""What rows share."""

from __future__ import annotations

import pytest

from loadtests.peers import PEERS
from loadtests.results import RowResult
from loadtests.workloads.base import describe, installed


def test_an_error_in_a_group_is_described_by_the_first_inner_one() -> None:
    error = ExceptionGroup("g", [ExceptionGroup("h", [OSError("refused")]), ValueError("x")])
    assert describe(error) == "OSError: refused"


def test_what_is_not_installed_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PEERS["nginx_plain"], "missing", classmethod(lambda cls: "apt-get install nginx-light"))
    result, said = RowResult("r", "R", "cpu_us", []), list[str]()
    assert list(installed(result, ("penstock", "nginx_plain"), said.append)) == ["penstock"]
    assert result.skipped == {"nginx_plain": "apt-get install nginx-light"}
    assert "apt-get" in said[0]
