"""The demo's servers: up together, down together, also when one of them fails."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from deploy.demo import stack as stack_module
from deploy.demo.stack import DemoError, Stack
from deploy.process import listening_ports
from tests.support.processes import members, wait_until

pytestmark = pytest.mark.triton

STAND_IN = (sys.executable, "-m", "tests.support.stand_in_gateway")


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a failed start leaves to be read lies with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def groups(lines: list[str]) -> list[int]:
    """The process groups that the progress lines name."""
    return [int(pid) for line in lines for pid in re.findall(r"process (\d+)", line)]


def test_two_tritons_and_a_gateway_up_and_down() -> None:
    lines: list[str] = []
    with Stack(lines.append, STAND_IN) as stack:
        config = yaml.safe_load(stack.config.read_text())
        assert config["pools"]["tritons"]["endpoints"] == [triton.grpc_address for triton in stack.tritons]
        assert config["workers"] == 2
        assert len(groups(lines)) == 3
        assert {stack.port, stack.admin_port} <= listening_ports(groups(lines)[-1])
        stack.check_running()
        os.kill(stack.tritons[1].pid, signal.SIGKILL)
        assert wait_until(lambda: not stack.tritons[1].running)
        with pytest.raises(DemoError, match=r"Triton ended with status -9; its log, .*triton-2.log, ends:"):
            stack.check_running()
    assert all(members(group) == [] for group in groups(lines))
    assert not stack.directory.exists()


def test_the_gateway_starts_again_with_what_it_has_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    state = tmp_path / "kept"
    with Stack(lines.append, STAND_IN, state) as stack:
        before = stack.address, stack.config.read_text()
        stack.restart()
        assert (stack.address, stack.config.read_text()) == before
        first, second = groups(lines)[2:]
        assert members(first) == []
        assert stack.port in listening_ports(second)
    assert stack.config == state / "gateway.yaml"
    assert stack.config.exists()
    assert not stack.directory.exists()


def test_two_demos_do_not_share_what_they_keep(tmp_path: Path) -> None:
    lines: list[str] = []
    first, second = (Stack(lines.append, STAND_IN, tmp_path / "kept") for _ in range(2))
    try:
        first._take_state()
        second._take_state()
        assert lines[0].endswith(f"another demo has {tmp_path}/kept; what this one keeps goes with it")
        assert second.state.is_relative_to(second.directory)
        first.stop()
        third = Stack(lines.append, STAND_IN, tmp_path / "kept")
        third._take_state()
        assert third.state == tmp_path / "kept"
        third.stop()
    finally:
        first.stop()
        second.stop()


def test_a_gateway_that_ends_at_once_is_told_with_its_log() -> None:
    lines: list[str] = []
    stack = Stack(lines.append, (*STAND_IN, "ends"))
    with pytest.raises(
        DemoError, match=r"the gateway ended with status 1; its log, (.*), ends:\nthe stand-in ends"
    ) as told:
        stack.__enter__()
    found = re.search(r"its log, (.*), ends", str(told.value))
    assert found
    assert Path(found[1]).is_file()
    assert len(groups(lines)) == 2
    assert all(members(group) == [] for group in groups(lines))


def test_a_gateway_that_is_never_ready_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "READY_S", 0.5)
    lines: list[str] = []
    with pytest.raises(DemoError, match="the gateway is not ready after 0 s"):
        Stack(lines.append, (*STAND_IN, "never_ready")).__enter__()
    assert all(members(group) == [] for group in groups(lines))


def test_a_triton_that_fails_is_told_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "MODELS", stack_module.PROJECT / "no-such-models")
    with pytest.raises(DemoError, match=r"Triton ended with status 1; its log, .*triton-1.log, ends:"):
        Stack(lambda line: None, STAND_IN).__enter__()


def test_taken_ports_are_avoided() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not stack_module._free(port)
    assert stack_module._free(port)


def test_the_documented_ports_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "_free", lambda port: port == stack_module.PORT)
    port, admin_port = stack_module._choose_ports()
    assert port == stack_module.PORT
    assert admin_port != stack_module.ADMIN_PORT
