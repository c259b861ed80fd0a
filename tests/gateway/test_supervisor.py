"""The processes, from outside: `penstock serve` with a data plane of lines and a real gRPC endpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.schema import Drain
from gateway.supervisor import environment
from tests.support.deadline import until
from tests.support.gateway_process import SCRIPT, GatewayProcess, a_config, alive, free_port
from tests.support.index_server import IndexServer


@pytest.fixture
def triton() -> Iterator[IndexServer]:
    server = IndexServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def gateway(tmp_path: Path, triton: IndexServer) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path, a_config(triton.address, admin=f"127.0.0.1:{free_port()}"))
    try:
        process.wait_ready()
        yield process
    finally:
        process.kill()


def test_sigterm_fails_readiness_then_drains_then_exits_0(gateway: GatewayProcess) -> None:
    assert set(gateway.children()) == {"control", "worker 0", "worker 1"}
    children = gateway.children().values()
    with gateway.connect() as client:
        assert int(client.ask("pid")) in children
        client.send("slow 1.0")
        gateway.signal(signal.SIGTERM)
        until(lambda: gateway.missing() == ["draining"])
        until(lambda: gateway.world()["draining"])  # still takes new connections, and the workers know
        assert int(client.receive()) in children
    assert gateway.process.wait(10) == 0
    assert not any(alive(pid) for pid in children)
    assert not list(gateway.file.parent.glob("penstock-*"))


def test_announces_once_when_ready(gateway: GatewayProcess) -> None:
    control = gateway.children()["control"]
    gateway.signal(signal.SIGKILL, "control")
    until(lambda: gateway.children().get("control", control) != control)
    gateway.wait_ready()
    listen, admin = gateway.config.listen[0].address, gateway.config.admin.address
    assert gateway.output.read_text() == f"penstock: serving on http://{listen} (admin http://{admin})\n"


def test_kill_9_of_control_changes_nothing_for_clients(gateway: GatewayProcess) -> None:
    workers = {role: pid for role, pid in gateway.children().items() if role != "control"}
    before = gateway.children()["control"]
    with gateway.connect() as client:
        gateway.signal(signal.SIGKILL, "control")
        until(lambda: not alive(before))
        for _ in range(20):
            assert int(client.ask("pid")) in workers.values()
            assert gateway.world()["live"] == {"p": [True]}
        gateway.wait_ready()
        assert gateway.world()["live"] == {"p": [True]}
        assert int(client.ask("pid")) in workers.values()
    assert gateway.children()["control"] != before
    assert {role: pid for role, pid in gateway.children().items() if role != "control"} == workers


def test_control_comes_back_with_the_config_in_force(gateway: GatewayProcess) -> None:
    gateway.file.write_text("{ half an edit")
    gateway.signal(signal.SIGKILL, "control")
    until(lambda: not gateway.ready())
    gateway.wait_ready()


def test_kill_9_of_a_worker_starts_another(gateway: GatewayProcess) -> None:
    for _ in range(5):
        gateway.ask("pid")
    until(lambda: gateway.metric("penstock_requests_total") == 5)
    before = gateway.children()["worker 1"]
    gateway.signal(signal.SIGKILL, "worker 1")
    until(lambda: gateway.children().get("worker 1", before) != before)
    gateway.wait_ready()
    assert gateway.metric('penstock_worker_restarts_total{worker="1"}') == 1
    assert gateway.metric("penstock_requests_total") == 5  # those of the dead one are kept
    assert gateway.metric("penstock_workers_ready") == 2
    assert "worker 1 ended (SIGKILL)" in gateway.errors.read_text()


def test_kill_9_of_the_supervisor_leaves_nothing(gateway: GatewayProcess) -> None:
    children = gateway.children().values()
    gateway.process.kill()
    gateway.process.wait(5)
    until(lambda: not any(alive(pid) for pid in children), 5)


def test_a_second_signal_kills(tmp_path: Path, triton: IndexServer) -> None:
    drain = Drain(delay=30.0, timeout=30.0)
    gateway = GatewayProcess(tmp_path, a_config(triton.address, admin=f"127.0.0.1:{free_port()}", drain=drain))
    try:
        gateway.wait_ready()
        children = gateway.children().values()
        gateway.signal(signal.SIGINT)
        until(lambda: gateway.missing() == ["draining"])
        gateway.signal(signal.SIGINT)
        assert gateway.process.wait(5) == 1
        assert not any(alive(pid) for pid in children)
    finally:
        gateway.kill()


def test_a_worker_that_does_not_end_is_killed(tmp_path: Path, triton: IndexServer) -> None:
    config = a_config(triton.address, admin=f"127.0.0.1:{free_port()}", drain=Drain(0.0, 0.1))
    gateway = GatewayProcess(tmp_path, config, workers=1)
    try:
        gateway.wait_ready()
        with gateway.connect() as client:
            client.ask("pid")
            client.send("block 60")
            gateway.signal(signal.SIGTERM)
            assert gateway.process.wait(15) == 1
        assert "killed, did not end in time: worker 0" in gateway.errors.read_text()
    finally:
        gateway.kill()


def test_readiness_follows_the_endpoint(gateway: GatewayProcess, triton: IndexServer) -> None:
    triton.stop()
    until(lambda: not gateway.ready())
    (missing,) = gateway.missing()
    assert missing.startswith(f"route all: pool p has no live endpoint ({triton.address}: ServerLive: UNAVAILABLE: ")
    until(lambda: gateway.world()["live"] == {"p": [False]})
    triton.start(triton.address)
    gateway.wait_ready()
    until(lambda: gateway.world()["live"] == {"p": [True]})


def test_a_refresh_tells_before_it_returns(tmp_path: Path, triton: IndexServer) -> None:
    config = a_config(triton.address, admin=f"127.0.0.1:{free_port()}", interval=60.0)
    gateway = GatewayProcess(tmp_path, config, workers=1)
    try:
        gateway.wait_ready()
        triton.models = [("m", "1", "UNAVAILABLE", "unloaded")]
        before = gateway.world()["generation"]
        gateway.ask("refresh p")
        assert gateway.world()["generation"] == before + 1
    finally:
        gateway.kill()


def test_a_port_that_is_taken_ends_it(tmp_path: Path, triton: IndexServer) -> None:
    taken = triton.address
    gateway = GatewayProcess(tmp_path, a_config(triton.address, admin=f"127.0.0.1:{free_port()}", listen=taken))
    try:
        assert gateway.process.wait(20) == 1
        assert "cannot open its port; giving up" in gateway.errors.read_text()
    finally:
        gateway.kill()


def test_a_config_error_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text("{}")
    command = [sys.executable, "-P", str(SCRIPT), "serve", str(file)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[1] == f"{file}: another problem"


def test_workers_0_is_one_process(tmp_path: Path, triton: IndexServer) -> None:
    config = a_config(triton.address, admin=f"127.0.0.1:{free_port()}")
    gateway = GatewayProcess(tmp_path, config, workers=0)
    try:
        gateway.wait_ready()
        assert gateway.children() == {}
        assert int(gateway.ask("pid")) == gateway.process.pid
        triton.models = []
        assert int(gateway.ask("refresh p")) == gateway.process.pid
        with gateway.connect() as client:
            client.send("slow 1.0")
            gateway.signal(signal.SIGTERM)
            until(lambda: gateway.missing() == ["draining"])
            assert int(client.receive()) == gateway.process.pid
        assert gateway.process.wait(10) == 0
    finally:
        gateway.kill()


def test_children_import_what_this_process_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    ours, elsewhere = environment()["PYTHONPATH"].split(os.pathsep)
    assert (Path(ours) / "gateway" / "supervisor.py").exists()
    assert elsewhere == "/elsewhere"
