"""`penstock keys` against a real store: what it prints opens what it says, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from config.schema import State
from gateway import cli
from state.key_file import parse
from state.keys import read, verify
from tests.support.configurations import text_with
from tests.support.deadline import until
from tests.support.gateway_process import GatewayProcess, a_config, free_port
from tests.support.index_server import IndexServer
from tests.support.valkey import Valkey

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The exit code, what was printed and what went to stderr."""

    def command(*words: str) -> tuple[int, str, str]:
        code = cli.main(["keys", *words])
        output = capsys.readouterr()
        return code, output.out, output.err

    return command


@pytest.fixture
def file(valkey: Valkey, tmp_path: Path) -> str:
    path = tmp_path / "gateway.yaml"
    path.write_text(text_with(state=f"'unix:{valkey.socket}'"))
    return str(path)


def made(run: Run, file: str, *words: str) -> dict[str, Any]:
    code, out, err = run("create", file, *words, "-o", "json")
    assert code == 0, err
    answer: dict[str, Any] = json.loads(out)
    return answer


def test_a_key_is_shown_once_and_only_its_digest_kept(run: Run, file: str, valkey: Valkey) -> None:
    key = made(run, file, "alice", "--tenant", "vision", "--name", "laptop", "--scope", "infer", "--expires", "1d")
    read_back = read(key["key"])
    assert read_back is not None
    assert read_back.id == key["id"]
    assert (key["principal"], key["tenant"], key["scopes"], key["status"]) == ("alice", "vision", ["infer"], "valid")
    assert key["expires"] > key["created"]
    for words in (("list", file), ("list", file, "-o", "json"), ("show", file, key["id"], "-o", "json")):
        _, out, _ = run(*words)
        assert key["id"] in out
        assert read_back.secret.decode() not in out
    kept = valkey.ask("HGETALL", f"penstock:{{keys}}:key:{key['id']}")
    assert read_back.secret not in kept


def test_as_a_table(run: Run, file: str) -> None:
    code, out, err = run("create", file, "alice", "--name", "a\x1b[31mb", "--scope", "x")
    assert code == 0
    assert out.startswith("key         psk_")
    assert "\x1b" not in out
    assert "only time that the key is shown" in err
    made(run, file, "bob")
    _, out, _ = run("list", file)
    heads, first, second = out.splitlines()
    assert heads.split() == ["ID", "PRINCIPAL", "TENANT", "NAME", "SCOPES", "STATUS", "EXPIRES"]
    assert first.split()[1:] == ["alice", "-", "a?[31mb", "x", "valid", "-"]
    assert second.split()[1:] == ["bob", "-", "-", "-", "valid", "-"]


def test_a_list_can_be_narrowed(run: Run, file: str) -> None:
    made(run, file, "alice", "--tenant", "a")
    made(run, file, "bob", "--tenant", "b")
    for words in (("--principal", "bob"), ("--tenant", "b")):
        _, out, _ = run("list", file, *words, "-o", "json")
        assert [key["principal"] for key in json.loads(out)] == ["bob"]


def test_rotation_overlaps(run: Run, file: str) -> None:
    old = made(run, file, "alice", "--expires", "30d", "--scope", "infer")
    code, out, _ = run("rotate", file, old["id"], "--grace", "1h", "-o", "json")
    assert code == 0
    new = json.loads(out)
    assert new["id"] != old["id"]
    assert (new["replaces"], new["principal"], new["scopes"]) == (old["id"], "alice", ["infer"])
    assert new["expires"] >= old["expires"]
    _, out, _ = run("show", file, old["id"], "-o", "json")
    then = json.loads(out)
    assert then["status"] == "valid"
    assert then["expires"] < old["expires"]


def test_revoked_is_for_good(run: Run, file: str) -> None:
    key = made(run, file, "alice")
    _, first, _ = run("revoke", file, key["id"], "-o", "json")
    assert json.loads(first)["status"] == "revoked"
    _, again, _ = run("revoke", file, key["id"], "-o", "json")
    assert json.loads(again) == json.loads(first)
    code, _, err = run("rotate", file, key["id"])
    assert (code, err) == (1, f"key {key['id']} is revoked: create a new one\n")


def test_no_such_key(run: Run, file: str) -> None:
    assert run("show", file, "nobodyhasit1") == (1, "", "there is no key nobodyhasit1\n")
    whole = made(run, file, "alice")["key"]
    code, _, err = run("revoke", file, whole)
    assert code == 1
    assert whole not in err  # a secret that was given by mistake is not repeated
    assert "an id is what stands between psk_ and the next _" in err


def test_limits_are_those_of_the_configuration(run: Run, file: str) -> None:
    code, _, err = run("create", file, "alice", "--limit", "per_user=5/s")
    assert code == 1
    assert "--limit per_user: no rate_limit with this name" in err


def test_offline_it_prints_an_entry(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text_with())
    code, out, err = run("create", str(file), "alice", "--scope", "infer", "--expires", "1d", "--offline")
    assert code == 0
    shown = read(err.split()[1])
    assert shown is not None
    assert shown.secret.decode() not in out
    records = parse(yaml.safe_dump({"keys": yaml.safe_load(out)}), "f")
    assert verify(records[shown.id], shown.secret, time.time())


def test_no_store(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text_with())
    assert "has no state store; name one with `state:`" in run("list", str(file))[2]
    file.write_text(text_with(state="embedded"))
    code, _, err = run("list", str(file))
    assert code == 1
    assert "start it with `penstock serve`" in err


def test_a_store_that_is_away(run: Run, file: str, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.keys_command.LOADING", 0.1)
    valkey.kill()
    code, _, err = run("list", file)
    assert code == 1
    assert err.startswith("the state store is down: cannot reach unix:")


def test_an_embedded_store_is_asked_where_it_runs_and_else_started(run: Run, tmp_path: Path) -> None:
    server = IndexServer()
    server.start()
    config = a_config(server.address, admin=f"127.0.0.1:{free_port()}")
    config = msgspec.structs.replace(config, state=State(), state_directory=str(tmp_path / "kept"))
    yaml_file = tmp_path / "gateway.yaml"
    yaml_file.write_text(text_with(state="embedded", state_directory=f"{tmp_path}/kept"))
    before = made(run, str(yaml_file), "early")
    gateway = GatewayProcess(tmp_path, config, workers=1)
    try:
        gateway.wait_ready()
        until(lambda: gateway.ask(f"key {before['id']}") == "valid")
        code, _, err = run("list", str(yaml_file))
        assert code == 1
        assert "another process has the state" in err  # that gateway was started from another file
        (found,) = (each / "source" for each in (tmp_path / "kept").glob("penstock-*"))
        assert found.read_text() == str(gateway.file)
        found.write_text(str(yaml_file))
        key = made(run, str(yaml_file), "alice")
        until(lambda: gateway.ask(f"key {key['id']}") == "valid", 2)
        run("revoke", str(yaml_file), key["id"])
        until(lambda: gateway.ask(f"key {key['id']}") == "revoked", 2)
    finally:
        gateway.kill()
        server.stop()
