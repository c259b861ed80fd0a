"""Settings tell where the store is, and never its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from state import StateError
from state.settings import PasswordFile, PasswordVariable, Settings, no_password


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(path="/run/s"), "unix:/run/s"),
        (Settings(addresses=(("redis", 6379),)), "server redis:6379"),
        (Settings("sentinel", addresses=(("a", 1), ("::1", 2)), service="state"), "sentinel a:1,[::1]:2 state"),
        (Settings("cluster", addresses=(("a", 1),)), "cluster a:1"),
    ],
)
def test_where_it_is(settings: Settings, told: str) -> None:
    assert settings.told == told


def test_a_password_in_a_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("canary-1\n")
    password = PasswordFile(str(file))
    assert password() == "canary-1"
    file.write_text("canary-2")
    assert password() == "canary-2"
    assert "canary" not in repr(Settings(password=password))


def test_a_password_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    password = PasswordVariable("STORE_PASSWORD")
    with pytest.raises(StateError, match="variable STORE_PASSWORD"):
        password()
    monkeypatch.setenv("STORE_PASSWORD", "canary-3")
    assert password() == "canary-3"
    assert "canary" not in repr(password)


def test_none() -> None:
    assert no_password() == ""


def test_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "p", tmp_path / "none"):
        with pytest.raises(StateError, match="cannot read the password file"):
            PasswordFile(str(path))()
