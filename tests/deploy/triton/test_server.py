"""A real Triton: started, ready, stopped, killed, and what is left of it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from deploy.triton import Triton, TritonError, free_ports, server
from tests.support.model_repository import write_repository
from tests.support.processes import members, wait_until

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("repository"), ["simple"])


@pytest.fixture(scope="module")
def running(repository: Path) -> Iterator[Triton]:
    with Triton(repository) as triton:
        yield triton


def shared_memory(triton: Triton) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{triton._prefix}*"))


def test_free_ports_differ() -> None:
    assert len(set(free_ports(50))) == 50


def test_it_serves_grpc_http_and_metrics(running: Triton) -> None:
    with grpcclient.InferenceServerClient(running.grpc_address) as client:
        assert client.is_model_ready("simple")
        ones = np.ones((1, 16), np.int32)
        inputs = [
            grpcclient.InferInput(name, [1, 16], "INT32").set_data_from_numpy(ones) for name in ("INPUT0", "INPUT1")
        ]
        assert client.infer("simple", inputs).as_numpy("OUTPUT0").tolist() == [[2] * 16]
    for address in (running.http_address, running.metrics_address):
        host, _, port = address.partition(":")
        socket.create_connection((host, int(port)), timeout=2).close()


def test_starting_twice_is_refused(running: Triton) -> None:
    with pytest.raises(TritonError, match="runs already"):
        running.start()


def test_after_stop_nothing_is_left_and_it_starts_again(repository: Path) -> None:
    triton = Triton(repository).start().wait_ready()
    group = triton.pid
    assert len(members(group)) == 2  # the server and the stub of its model
    assert len(shared_memory(triton)) == 1
    triton.stop()
    assert members(group) == []
    assert shared_memory(triton) == []
    assert not triton.log.exists()
    assert not triton.running
    triton.start().wait_ready()
    triton.kill()
    assert members(triton.pid) == []


def test_a_killed_server_leaves_no_stub_and_no_memory(repository: Path) -> None:
    with Triton(repository) as triton:
        os.kill(triton.pid, signal.SIGKILL)
        assert wait_until(lambda: not triton.running)
        triton.kill()
        assert wait_until(lambda: members(triton.pid) == [])
        assert shared_memory(triton) == []


def test_a_model_that_does_not_load_is_told_with_the_log(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "models", ["badload"])
    log = tmp_path / "triton.log"
    with pytest.raises(
        TritonError, match=rf"ended with status 1; its log, {log}, ends:(.|\n)*failed to load all models"
    ):
        Triton(repository, log=log).__enter__()
    assert "a_module_that_does_not_exist" in log.read_text()


def test_too_slow_is_told(repository: Path) -> None:
    triton = Triton(repository).start()
    try:
        with pytest.raises(TritonError, match="not ready after 0 s"):
            triton.wait_ready(timeout=0)
    finally:
        triton.kill()


@pytest.mark.parametrize("service", [0, 1, 2], ids=["http", "grpc", "metrics"])
def test_a_port_that_is_lost_costs_another_attempt(
    repository: Path, monkeypatch: pytest.MonkeyPatch, service: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        attempts = [free_ports(3), free_ports(3)]
        attempts[0][service] = taken
        monkeypatch.setattr(server, "free_ports", lambda count: attempts.pop(0))
        with Triton(repository) as triton:
            assert attempts == []
            assert taken not in (triton.http_port, triton.grpc_port, triton.metrics_port)


def test_explicit_mode_loads_only_what_is_named(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "models", ["simple", "id_fp32", "badload"])
    with (
        Triton(repository, explicit=True, models=["simple"]) as triton,
        grpcclient.InferenceServerClient(triton.grpc_address) as client,
    ):
        assert client.is_model_ready("simple")
        assert not client.is_model_ready("id_fp32")
        client.load_model("id_fp32")
        assert client.is_model_ready("id_fp32")


def test_without_an_environment_it_says_what_to_do(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(TritonError, match="run `make triton` first"):
        Triton(repository, venv=tmp_path).start()
