"""The directory of a gateway."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

import pytest

from gateway.rundir import RunDirectory
from tests.support.gateway_process import a_config


def test_only_this_user_may_enter(tmp_path: Path) -> None:
    directory = RunDirectory.make(str(tmp_path / "state"))
    assert Path(directory.path).parent == tmp_path / "state"
    assert stat.S_IMODE(Path(directory.path).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    directory.remove()
    assert not Path(directory.path).exists()


def test_a_path_too_long_for_a_socket_goes_elsewhere(tmp_path: Path) -> None:
    directory = RunDirectory.make(str(tmp_path / ("x" * 90)))
    assert len(directory.socket) <= 100
    directory.remove()


def test_the_config_comes_back_as_written(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path))
    config = a_config("gpu-0:8001")
    directory.write_config(config)
    assert directory.read_config() == config
    with pytest.raises(FileNotFoundError):
        RunDirectory(str(tmp_path / "none")).read_config()


def test_announces_once(tmp_path: Path) -> None:
    assert [RunDirectory(str(tmp_path)).announce_once() for _ in range(3)] == [True, False, False]


def test_the_lifeline_ends_with_whoever_holds_it(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path))
    held = directory.hold_lifeline()
    line = directory.lifeline()
    try:
        assert select.select([line], [], [], 0.05)[0] == []
        assert os.get_blocking(line)
        os.close(held)
        assert os.read(line, 1) == b""
    finally:
        os.close(line)
    late = directory.lifeline()  # nobody holds it: it has ended
    assert os.read(late, 1) == b""
    os.close(late)
