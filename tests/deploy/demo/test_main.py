"""`python -m deploy.demo`: what it prints, how it ends, and that it leaves nothing running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.triton.environment import PROJECT
from tests.support.processes import members, wait_until

pytestmark = pytest.mark.triton

STAND_IN = """
import sys
from deploy.demo.__main__ import main
sys.exit(main(sys.argv[1:], (sys.executable, "-m", "tests.support.stand_in_gateway")))
"""
COMMANDS = {"stand-in": ["-c", STAND_IN], "gateway": ["-m", "deploy.demo"]}


def groups(text: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"process (\d+)", text)]


@pytest.fixture(
    params=[
        "stand-in",
        pytest.param(
            "gateway",
            marks=pytest.mark.skipif(
                not Path(PROJECT, "gateway", "__main__.py").exists(), reason="the gateway has no command yet"
            ),
        ),
    ]
)
def program(request: pytest.FixtureRequest) -> list[str]:
    return COMMANDS[request.param]


@contextmanager
def demo(program: list[str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *program, *arguments]
    with (
        # A demo that is killed cannot remove its own directory.
        tempfile.TemporaryDirectory() as temporary,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=PROJECT,
            env=os.environ | {"TMPDIR": temporary},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], sign: str) -> str:
    """Its output up to and with the line that has `sign`."""
    text = ""
    assert process.stdout
    for line in process.stdout:
        text += line
        if sign in line:
            return text
    raise AssertionError(f"no {sign!r} in:\n{text}")


def test_check_shows_three_calls_and_leaves_nothing(program: list[str]) -> None:
    with demo(program, "--check") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "version 1: 322 of 360 right\nversion 2: 357 of 360 right" in output
    assert "24 tokens, the first after" in output
    assert output.endswith("demo-check: all answers are right, nothing is left running\n")
    assert len(groups(output)) == 3
    assert all(members(group) == [] for group in groups(output))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_told_to_end(program: list[str], end: signal.Signals) -> None:
    with demo(program) as process:
        output = read_until(process, "Ctrl-C")
        assert all(members(group) for group in groups(output))
        process.send_signal(end)
        process.send_signal(end)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    assert rest.endswith("stopped; nothing is left running\n")
    assert all(members(group) == [] for group in groups(output))


def test_ended_while_it_starts_it_leaves_nothing(program: list[str]) -> None:
    with demo(program, "--check") as process:
        output = read_until(process, "Triton is ready")
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 1, rest
    assert all(members(group) == [] for group in groups(output + rest))


def test_killed_it_leaves_nothing(program: list[str]) -> None:
    with demo(program) as process:
        output = read_until(process, "the gateway is ready")
        process.kill()
    assert len(groups(output)) == 3
    assert wait_until(lambda: all(members(group) == [] for group in groups(output)))
