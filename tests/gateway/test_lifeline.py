"""Real processes that die with their parent."""

from __future__ import annotations

import subprocess
import sys

from gateway.lifeline import Exit
from gateway.supervisor import environment
from tests.support.deadline import until
from tests.support.gateway_process import alive

CHILD = (
    "import os, sys; from gateway import lifeline; lifeline.hold(int(sys.argv[1]));"
    "print(os.getpid(), flush=True); sys.stdin.read()"
)
PARENT = (
    "import os, subprocess, sys;"
    f"subprocess.Popen([sys.executable, '-c', {CHILD!r}, str(os.getpid())], stdin=subprocess.PIPE).wait()"
)


def test_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment()) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        until(lambda: not alive(child), 5)


def test_does_not_start_when_the_parent_is_gone() -> None:
    command = [sys.executable, "-c", CHILD, "1"]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout) == (Exit.FAILED, "")
    assert "the supervisor 1 is gone" in ended.stderr
