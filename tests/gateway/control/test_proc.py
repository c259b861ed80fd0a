"""What proc(5) says of processes that these tests start."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from gateway.control import proc
from tests.support.deadline import until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True, env={"MARK": "one"})
    yield process
    process.kill()
    process.wait()


def test_a_process_is_known_by_its_start_and_gone_when_it_ended(sleeper: subprocess.Popen[bytes]) -> None:
    identity = proc.identify(sleeper.pid)
    assert identity is not None
    assert identity == proc.identify(sleeper.pid)
    assert identity.pid == sleeper.pid
    sleeper.kill()
    until(lambda: proc.identify(sleeper.pid) is None)  # a zombie is gone
    sleeper.wait()
    assert proc.identify(sleeper.pid) is None


def test_members_and_memory_of_a_group(sleeper: subprocess.Popen[bytes]) -> None:
    assert proc.group_members(sleeper.pid) == [sleeper.pid]
    until(lambda: proc.memory_of([sleeper.pid]) > 10_000)
    assert proc.memory_of([os.getpid()]) > 10_000_000
    sleeper.kill()
    sleeper.wait()
    assert proc.group_members(sleeper.pid) == []
    assert proc.memory_of([sleeper.pid]) == 0


def test_the_environment_of_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    until(lambda: proc.has_variable(sleeper.pid, "MARK=one"))
    assert not proc.has_variable(sleeper.pid, "MARK=on")
    assert not proc.has_variable(2**22 + 1, "MARK=one")
