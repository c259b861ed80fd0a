"""`state:` as it is written, and what does not go together there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from config.files import check_files, resolve_paths
from config.schema import Config
from config.state import State
from tests.support.configurations import config_with, mistakes_with


def state(written: str) -> State | None:
    """As it arrives in another process."""
    config = config_with(state=written)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=Config).state


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("embedded", State()),
        ("redis://a:7000/1", State("redis://a:7000/1")),
        (
            "{url: rediss://a, password_file: p, ca: c, certificate: d, key: k, prefix: team-a, timeout: 5ms}",
            State("rediss://a", "p", ca="c", certificate="d", key="k", prefix="team-a", timeout=0.005),
        ),
        ("{memory: 1GiB, connect_timeout: 2s}", State(memory=1024**3, connect_timeout=2.0)),
        ("null", None),
    ],
)
def test_forms(written: str, expected: State | None) -> None:
    assert state(written) == expected


def test_nothing_is_written() -> None:
    assert config_with().state is None


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("redis://a,b", "state: expected one server, got 2"),
        ("{url: redis://a, password_file: p, password_env: E}", "state.password_env: expected one of"),
        ("{password_file: p}", "state.password_file: expected no password, as embedded has none"),
        ("{url: redis://a, ca: c}", "state.ca: expected a URL with TLS"),
        ("{url: rediss://a, key: k}", "state.key: expected a certificate beside the key"),
        ("{prefix: 'a:b'}", "state.prefix: expected a prefix such as penstock"),
        ("{timeout: 0s}", "state.timeout: expected a value between 1ms and 10s"),
        ("{url: 'redis://:canary@a'}", "state.url: expected a URL without a password"),
    ],
)
def test_mistakes(written: str, problem: str) -> None:
    (found,) = mistakes_with(state=written)
    assert found.startswith(problem)
    assert "canary" not in found


def test_its_files_are_looked_at(tmp_path: Path) -> None:
    config = config_with(state="{url: rediss://a, password_file: p, ca: c}", key_file="keys.yaml")
    config = resolve_paths(config, tmp_path)
    assert config.state is not None
    assert (config.state.password_file, config.state.ca) == (str(tmp_path / "p"), str(tmp_path / "c"))
    assert config.key_file == str(tmp_path / "keys.yaml")
    assert {path for path, _ in check_files(config)} == {("key_file",), ("state", "ca"), ("state", "password_file")}
    for name in ("p", "c", "keys.yaml"):
        (tmp_path / name).write_text("-----BEGIN CERTIFICATE-----")
    assert not list(check_files(config))
