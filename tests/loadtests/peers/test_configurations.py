"""Each peer's configuration: right upstream, one worker, accepted by the program itself where that is cheap."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from config.load import load
from deploy.packaging.compiled import COMPILED, PROJECT
from loadtests.exchange import Address
from loadtests.peers import PEERS, Backend
from policies import registry

BACKEND = Backend(Address("127.0.0.1", 18), Address("127.0.0.1", 19), "2.51.0", 1)
PENSTOCKS = ("penstock", "penstock_pure")
NGINX = {"nginx_plain": "18", "nginx_grpc": "19"}


@pytest.mark.parametrize("name", [name for name in PEERS if name.startswith("envoy")])
def test_envoy(name: str, tmp_path: Path) -> None:
    pytest.importorskip("envoy")
    peer = PEERS[name](BACKEND, tmp_path)
    command = peer.command()  # type: ignore[attr-defined]
    assert command[command.index("--concurrency") + 1] == "1"
    [cluster] = json.loads((tmp_path / f"{name}.json").read_text())["static_resources"]["clusters"]
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"]["port_value"] == (18 if name == "envoy_plain" else 19)
    checked = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("name", NGINX)
def test_nginx(name: str, tmp_path: Path) -> None:
    peer = PEERS[name](BACKEND, tmp_path)
    command = peer.command()  # type: ignore[attr-defined]
    text = (tmp_path / f"{name}.conf").read_text()
    assert "worker_processes 1;" in text
    assert f"server 127.0.0.1:{NGINX[name]};" in text
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_penstock_of_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BENCH_COMMAND", "env penstock")
    peer = PEERS["penstock"](BACKEND, tmp_path)
    command = peer.command()  # type: ignore[attr-defined]
    assert command == ["env", "penstock", "serve", str(tmp_path / "penstock.yaml"), "--workers", "1"]
    config = yaml.safe_load((tmp_path / "penstock.yaml").read_text())
    assert config["listen"] == [{"address": str(peer.address)}]
    assert config["pools"]["triton"]["endpoints"] == ["127.0.0.1:19"]


def test_penstock_is_the_compiled_one_where_it_is_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_BENCH_COMMAND", raising=False)
    found = {}
    for compiled in (True, False):
        monkeypatch.setattr("loadtests.peers.penstock.current", lambda compiled=compiled: compiled)
        found[compiled] = [PEERS[name](BACKEND, tmp_path).environment()["PYTHONPATH"] for name in PENSTOCKS]
        kind = "compiled" if compiled else "pure Python"
        assert (PEERS["penstock"].version() or "").endswith(f"({kind})")
        assert (PEERS["penstock_pure"].missing() is None) == compiled
    source = str(PROJECT)
    assert found == {True: [str(COMPILED), source], False: [source, source]}


def test_every_peer_has_a_label_and_a_dialect() -> None:
    assert len({kind.label for kind in PEERS.values()}) == len(PEERS)
    assert all(kind.dialects for kind in PEERS.values())


@pytest.mark.parametrize("name", [name for name in PEERS if name.startswith("penstock_policies")])
def test_penstock_with_policies(name: str, tmp_path: Path) -> None:
    peer = PEERS[name](BACKEND, tmp_path)
    peer.command()  # type: ignore[attr-defined]
    assert load(tmp_path / f"{name}.yaml", policies=registry()).routes[0].policies
    assert peer.headers != PEERS[name](BACKEND, tmp_path).headers, "a secret of its own"
