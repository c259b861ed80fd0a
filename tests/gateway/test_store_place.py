"""Which store a configuration means."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from config.node import Node
from config.routes import PolicySpec
from config.schema import Config, State
from gateway.rundir import RunDirectory
from gateway.store_place import data_directory, is_embedded, located, with_state
from policies import needs_state
from tests.support.configurations import config_with


class Needy(Node, frozen=True):
    needs_state = True


class Keyed(Node, frozen=True):
    needs_keys = True


class Choosy(Node, frozen=True):
    mode: str = "local"

    @property
    def needs_state(self) -> bool:
        return self.mode == "exact"


def with_policy(**options: str) -> Config:
    spec = PolicySpec("choosy", options)
    route = msgspec.structs.replace(config_with().routes[0], policies=(spec,))
    return msgspec.structs.replace(config_with(), routes=(route,))


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.registry", lambda: {"needy": Needy, "choosy": Choosy, "keyed": Keyed})


def test_nothing_needs_one() -> None:
    assert with_state(config_with()).state is None
    assert with_state(with_policy(mode="local")).state is None
    assert not is_embedded(with_state(config_with()))


def test_a_policy_needs_one() -> None:
    assert with_state(with_policy(mode="exact")).state == State()
    assert is_embedded(with_state(with_policy(mode="exact")))


def test_a_policy_of_a_listener_or_with_a_name_needs_one() -> None:
    config = config_with()
    listener = msgspec.structs.replace(config.listen[0], policies=(PolicySpec("needy"),))
    assert is_embedded(with_state(msgspec.structs.replace(config, listen=(listener,))))
    assert is_embedded(with_state(msgspec.structs.replace(config, policies={"shared": PolicySpec("needy")})))


def test_keys_are_in_one_unless_there_is_a_file_of_them() -> None:
    config = msgspec.structs.replace(config_with(), policies={"keys": PolicySpec("keyed")})
    assert is_embedded(with_state(config))
    assert with_state(msgspec.structs.replace(config, key_file="keys.yaml")).state is None


@pytest.mark.parametrize(
    ("kind", "options", "needed"),
    [
        ("api_key", {}, True),
        ("rate_limit", {"rate": "1/s"}, True),
        ("rate_limit", {"rate": "1/s", "mode": "local"}, False),
        ("cache", {}, True),
        ("cache", {"shared_store": False}, False),
        ("timeout", {"total": 1.0}, False),
    ],
)
def test_what_the_policies_say(
    kind: str, options: dict[str, object], needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert needs_state(PolicySpec(kind, options)) is needed


def test_what_is_written_stays() -> None:
    for written in ("none", "redis://a", "embedded"):
        config = config_with(state=written)
        assert with_state(config) is config
        assert is_embedded(config) == (written == "embedded")


def test_an_embedded_one_is_in_the_run_directory_and_its_data_where_they_last(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path))
    config = config_with(state="{url: embedded, prefix: p}")
    assert located(config, directory).state == State(f"unix:{tmp_path}/store.sock", prefix="p")
    assert data_directory(config, directory) == str(tmp_path / "state")
    lasting = config_with(state="embedded", state_directory="/var/lib/penstock")
    assert data_directory(lasting, directory) == "/var/lib/penstock/state"
    other = config_with(state="redis://a")
    assert located(other, directory) is other
