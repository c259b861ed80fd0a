"""`python -m gateway`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __main__ as module
from gateway.supervisor import environment, own_launcher


def test_is_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["penstock", "version"])
    assert module.main() == 0
    assert capsys.readouterr().out.startswith("penstock ")


def test_a_directory_of_the_same_name_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__init__.py").write_text("raise SystemExit('the wrong gateway')")
    ended = subprocess.run(
        [*own_launcher(), "version"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("penstock ")
