"""Command lines, environments and ports of managed Tritons."""

from __future__ import annotations

import socket

import pytest

from config.schema import Managed, Models
from gateway.control import launch
from gateway.control.launch import Launch, Ports, are_free, free_ports

SPEC = Managed(repository=("/models", "/more"), arguments=("--log-verbose=1",), environment={"A": "b"})


def test_the_command_line_names_repositories_ports_and_mode() -> None:
    words = Launch.of(SPEC, Models(mode="explicit"), 0).words(Ports(1, 2), "pre-")
    assert words[0] == "tritonserver"
    assert words[-1] == "--log-verbose=1"
    assert {
        "--model-repository=/models",
        "--model-repository=/more",
        "--model-control-mode=explicit",
        "--grpc-port=1",
        "--metrics-port=2",
        "--grpc-address=127.0.0.1",
        "--backend-config=python,shm-region-prefix-name=pre-",
    } <= set(words)


def test_models_are_loaded_by_triton_itself_unless_somebody_else_decides() -> None:
    assert "--model-control-mode=none" in Launch.of(SPEC, Models(), 0).words(Ports(1, 2), "p")
    assert "--model-control-mode=explicit" in Launch.of(SPEC, Models(mode="on_demand"), 0).words(Ports(1, 2), "p")


def test_an_option_of_the_operator_is_given_once() -> None:
    given = ("--exit-on-error=true", "--allow-http", "true", "--backend-config=python,shm-region-prefix-name=mine")
    words = Launch.of(Managed(repository=("/m",), arguments=given), Models(), 0).words(Ports(1, 2), "p")
    assert [word for word in words if "exit-on-error" in word] == ["--exit-on-error=true"]
    assert [word for word in words if "allow-http" in word] == ["--allow-http"]
    assert [word for word in words if "shm-region" in word] == ["--backend-config=python,shm-region-prefix-name=mine"]


def test_devices_go_round() -> None:
    spec = Managed(repository=("/m",), gpus=("0", "1,2"))
    shown = [Launch.of(spec, Models(), replica).variables()["CUDA_VISIBLE_DEVICES"] for replica in range(3)]
    assert shown == ["0", "1,2", "0"]


def test_the_environment_is_ours_and_the_operators_without_the_path_to_our_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{launch._OWN_ROOT}:/theirs")
    monkeypatch.setenv("INHERITED", "yes")
    variables = Launch.of(SPEC, Models(), 0).variables()
    assert (variables["A"], variables["INHERITED"], variables["PYTHONPATH"]) == ("b", "yes", "/theirs")
    monkeypatch.setenv("PYTHONPATH", launch._OWN_ROOT)
    assert "PYTHONPATH" not in Launch.of(SPEC, Models(), 0).variables()


def test_the_key_tells_what_needs_a_restart_from_what_does_not() -> None:
    def key(spec: Managed, models: Models = Models()) -> str:  # noqa: B008 - immutable
        return Launch.of(spec, models, 0).key

    same = Managed(
        repository=SPEC.repository, arguments=SPEC.arguments, environment=SPEC.environment, replicas=9, drain_timeout=1
    )
    assert key(SPEC) == key(same)
    assert key(SPEC, Models(mode="explicit")) == key(SPEC, Models(mode="on_demand")) != key(SPEC)
    assert key(SPEC) != key(Managed(repository=SPEC.repository, arguments=SPEC.arguments, environment={"A": "c"}))


def test_ports_are_free_and_not_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        assert not are_free("127.0.0.1", Ports(port, port))
        found = free_ports("127.0.0.1", port, {port + 1})
        assert port + 1 not in found
        assert port < found.grpc < found.metrics
    some = free_ports("127.0.0.1", 0, ())
    assert some.grpc != some.metrics
    assert are_free("127.0.0.1", some)


def test_no_port_left_is_an_error() -> None:
    with pytest.raises(OSError, match="no free ports"):
        free_ports("127.0.0.1", 65535, ())
