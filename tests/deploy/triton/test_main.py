"""The command `python -m deploy.triton`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.triton.environment import PROJECT
from tests.support.model_repository import write_repository
from tests.support.processes import members, wait_until

pytestmark = pytest.mark.triton


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deploy.triton", *arguments]


def test_install_is_quick_when_it_is_done() -> None:
    result = subprocess.run(command("install"), capture_output=True, text=True, timeout=60, cwd=PROJECT, check=True)
    assert result.stderr == ""


def test_run_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "models", ["simple"])
    with subprocess.Popen(
        command("run", "--repository", str(repository)), stderr=subprocess.PIPE, text=True, cwd=PROJECT
    ) as process:
        assert process.stderr
        assert re.match(r"gRPC 127\.0\.0\.1:\d+  HTTP 127\.0\.0\.1:\d+  metrics", process.stderr.readline())
        found = re.match(r"process (\d+), log ", process.stderr.readline())
        assert found
        group = int(found[1])
        assert len(members(group)) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
    assert wait_until(lambda: members(group) == [])


def test_run_says_why_it_cannot(tmp_path: Path) -> None:
    arguments = command("run", "--repository", str(tmp_path / "missing"))
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=PROJECT, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: Triton ended with status 1; its log, ")
