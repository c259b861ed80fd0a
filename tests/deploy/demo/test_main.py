"""`python -m deploy.demo`: what it prints, how it ends, and that it leaves nothing running."""

from __future__ import annotations

import os
import re
import signal
import stat
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

PROGRAM = [sys.executable, "-m", "deploy.demo"]


def groups(text: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"process (\d+)", text)]


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with (
        # A demo that is killed cannot remove its own directory.
        tempfile.TemporaryDirectory() as temporary,
        subprocess.Popen(
            [*PROGRAM, *arguments],
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


def test_check_shows_each_step_and_leaves_nothing() -> None:
    with demo("--check") as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "version 1: 322 of 360 right\nversion 2: 357 of 360 right" in output
    assert "24 tokens, the first after" in output
    signs = ("401 Unauthorized", "penstock-cache: miss", "penstock-cache: hit", "429 Too Many", "stopping the gateway")
    places = [output.index(sign) for sign in signs]
    assert places == sorted(places)
    assert output.endswith("demo-check: all answers are right, nothing is left running\n")
    assert len(groups(output)) == 4  # the gateway twice
    assert all(members(group) == [] for group in groups(output))


def test_what_one_run_keeps_the_next_one_has(tmp_path: Path) -> None:
    outputs = []
    for _ in range(2):
        with demo("--check", "--state", str(tmp_path)) as process:
            outputs.append(process.communicate(timeout=120)[0])
        assert process.returncode == 0, outputs[-1]
    keys = [re.findall(r"^key +(\S+)$", output, re.MULTILINE) for output in outputs]
    assert [len(each) for each in keys] == [1, 1]
    assert "An earlier run has made a key" in outputs[1]
    assert f"keys rotate {tmp_path}/gateway.yaml {keys[0][0].split('_')[1]} " in outputs[1]
    assert (tmp_path / "alice.key").read_text() == keys[1][0]
    assert stat.S_IMODE((tmp_path / "alice.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alice.key", "gateway.yaml", "lock", "state"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_told_to_end(end: signal.Signals, tmp_path: Path) -> None:
    with demo("--state", str(tmp_path)) as process:
        output = read_until(process, "Ctrl-C")
        running = [group for group in groups(output) if members(group)]
        assert len(running) == 3
        assert f"the key in {tmp_path}/alice.key" in output
        process.send_signal(end)
        process.send_signal(end)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    assert rest.endswith("stopped; nothing is left running\n")
    assert all(members(group) == [] for group in running)


def test_ended_while_it_starts_it_leaves_nothing() -> None:
    with demo("--check") as process:
        output = read_until(process, "Triton is ready")
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 1, rest
    assert all(members(group) == [] for group in groups(output + rest))


def test_killed_it_leaves_nothing(tmp_path: Path) -> None:
    with demo("--state", str(tmp_path)) as process:
        output = read_until(process, "the gateway is ready")
        process.kill()
    assert len(groups(output)) == 3
    assert wait_until(lambda: all(members(group) == [] for group in groups(output)))
    assert wait_until(lambda: not list(tmp_path.glob("penstock-*")))
