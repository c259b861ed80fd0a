"""The directory of a gateway."""

from __future__ import annotations

import os
import select
import socket
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.rundir import RunDirectory
from tests.support.gateway_process import a_config


def test_only_this_user_may_enter() -> None:
    with TemporaryDirectory() as short:  # that of a test may be too long for a socket
        parent = Path(short) / "state"
        directory = RunDirectory.make(str(parent))
        assert Path(directory.path).parent == parent
        assert stat.S_IMODE(Path(directory.path).stat().st_mode) == 0o700
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700
        directory.remove()
        assert not Path(directory.path).exists()


def test_a_path_too_long_for_a_socket_goes_elsewhere_and_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path / ("x" * 90)
    directory = RunDirectory.make(str(parent))
    assert len(directory.socket) <= 100
    directory.write_source("gateway.yaml")
    Path(directory.store).touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # whoever looks for it has another place of this kind
    found = RunDirectory.find(str(parent), "gateway.yaml")
    assert found is not None
    assert found.path == directory.path
    directory.remove()
    assert not any(parent.iterdir())
    assert RunDirectory.find(str(parent), "gateway.yaml") is None


def test_the_config_comes_back_as_written(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path))
    config = a_config("gpu-0:8001")
    directory.write_config(config)
    assert directory.read_config() == config
    with pytest.raises(FileNotFoundError):
        RunDirectory(str(tmp_path / "none")).read_config()


def test_a_gateway_is_known_by_one_name_that_no_other_has(tmp_path: Path) -> None:
    first, second = RunDirectory.make(str(tmp_path)), RunDirectory.make(str(tmp_path))
    node = first.node()
    assert RunDirectory(first.path).node() == node  # as the next control finds it
    assert second.node() != node
    assert node.startswith(socket.gethostname())


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


def test_the_board_of_the_control_before_is_opened_again(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path))
    directory.open_board(2, 8).worker(1).add(3, 0.5)
    Path(directory.slots).write_bytes(b"kept")
    assert directory.open_board(2, 8).in_flight(3) == 1
    assert directory.attach_board().in_flight(3) == 1
    assert Path(directory.slots).read_bytes() == b"kept"


@pytest.mark.parametrize("broken", [b"", b"no board", None])
def test_another_board_is_made_anew_and_nobodys_rows_are_known(tmp_path: Path, broken: bytes | None) -> None:
    directory = RunDirectory(str(tmp_path))
    directory.open_board(2, 8).worker(1).add(3, 0.5)
    Path(directory.slots).write_bytes(b"kept")
    if broken is not None:
        (tmp_path / "load_board").write_bytes(broken)
    board = directory.open_board(3, 8)
    assert (board.workers, board.in_flight(3)) == (3, 0)
    assert not Path(directory.slots).exists()


def test_a_worker_does_not_make_a_board(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RunDirectory(str(tmp_path)).attach_board()
