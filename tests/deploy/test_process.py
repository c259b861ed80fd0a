"""A process, its descendants and its owner: who ends whom."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.process import Process, listening_ports
from tests.support.processes import members, wait_until

# A leader with a child, which says when both are there; the leader ends at SIGTERM and leaves its child.
FAMILY = "sleep 60 & echo ready; exec sleep 60"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1; done"


@contextmanager
def started(script: str, directory: Path, **options: Any) -> Iterator[Process]:
    process = Process(["/bin/sh", "-c", script], directory / "log", **options)
    try:
        assert wait_until(lambda: "ready" in process.log_tail())
        yield process
    finally:
        process.kill()


def test_a_process_leads_its_own_group(tmp_path: Path) -> None:
    with started(FAMILY, tmp_path) as process:
        assert process.running
        assert process.status is None
        assert process.pid in members(process.pid)
        assert process.pid != os.getpgrp()


def test_stop_ends_a_child_that_the_leader_left(tmp_path: Path) -> None:
    with started(FAMILY, tmp_path) as process:
        assert len(members(process.pid)) == 2
        process.stop(5)
        assert process.status == -signal.SIGTERM
        assert wait_until(lambda: members(process.pid) == [])


def test_stop_does_not_wait_for_the_stubborn_longer_than_the_grace(tmp_path: Path) -> None:
    with started(STUBBORN, tmp_path) as process:
        process.stop(0.1)
        assert process.status == -signal.SIGKILL
        assert wait_until(lambda: members(process.pid) == [])


def test_its_prefixes_go_when_it_ends(tmp_path: Path) -> None:
    (tmp_path / "mine-1").mkdir()
    (tmp_path / "mine-1" / "file").touch()
    (tmp_path / "mine-2").touch()
    (tmp_path / "other").touch()
    with started(FAMILY, tmp_path, prefixes=[tmp_path / "mine-"]) as process:
        process.stop(5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "other"]


def test_the_log_tail_has_the_last_lines(tmp_path: Path) -> None:
    with started("for i in 1 2 3; do echo $i; done; echo ready >&2; exec sleep 60", tmp_path) as process:
        assert process.log_tail(2) == "3\nready"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_group_does_not_outlive_its_owner(tmp_path: Path, end: signal.Signals) -> None:
    owner = f"""
import sys, time
from pathlib import Path
from typing import Any
from deploy.process import Process
here = Path({str(tmp_path)!r})
process = Process(["/bin/sh", "-c", {FAMILY!r}], here / "log", prefixes=[here / "mine"])
(here / "mine-1").touch()
print(process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        group = int(process.stdout.readline())
        assert wait_until(lambda: len(members(group)) == 2)
        process.send_signal(end)
    assert wait_until(lambda: members(group) == [])
    assert wait_until(lambda: not (tmp_path / "mine-1").exists())


def test_a_signal_that_comes_while_it_starts_is_delivered_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(real(*arguments, **options))
        if len(processes) == 1:
            signal.raise_signal(signal.SIGINT)
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Process(["/bin/sleep", "60"], tmp_path / "log")
    process, guard = processes  # nobody holds them now but the guard's pipe
    guard.communicate(timeout=5)
    assert process.wait(5) == -signal.SIGKILL


def test_listening_ports_are_those_of_this_process_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine, socket.socket() as idle:
        idle.bind(("127.0.0.1", 0))
        ports = listening_ports(os.getpid())
        assert mine.getsockname()[1] in ports
        assert idle.getsockname()[1] not in ports
        assert mine.getsockname()[1] not in listening_ports(os.getppid())


def test_a_process_that_has_ended_listens_nowhere() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    assert listening_ports(process.pid) == set()
