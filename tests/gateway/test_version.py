"""The version, installed or not."""

from __future__ import annotations

import pytest

from gateway import version


def test_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "installed", lambda name: {"penstock": "1.2.3"}[name])
    assert version.version() == "1.2.3"


def test_of_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise version.PackageNotFoundError(name)

    monkeypatch.setattr(version, "installed", missing)
    assert version.version() == "0+source"
