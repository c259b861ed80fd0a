"""The log of a process stays small and keeps its end."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.control.process_log import ProcessLog


def test_a_full_log_is_emptied_and_its_end_kept_while_the_writer_goes_on(tmp_path: Path) -> None:
    log = ProcessLog(str(tmp_path / "logs" / "t.log"), limit=100)
    writer = log.open()
    os.write(writer, b"a" * 99)
    assert not log.trim()
    os.write(writer, b"b" * 50)
    assert log.trim()
    assert Path(f"{log.path}.1").read_text() == "a" * 50 + "b" * 50
    os.write(writer, b"after\n")
    os.close(writer)
    assert Path(log.path).read_text() == "after\n"
    assert sorted(os.listdir(tmp_path / "logs")) == ["t.log", "t.log.1"]


def test_the_tail_is_the_last_lines_that_say_something(tmp_path: Path) -> None:
    log = ProcessLog(str(tmp_path / "t.log"))
    assert log.tail() == []
    assert not log.trim()
    Path(log.path).write_bytes(b"x" * 10_000 + b"\none\n\ntwo \xff\n  \n")
    assert log.tail(2) == ["one", "two �"]


def test_a_log_is_for_this_user_alone(tmp_path: Path) -> None:
    log = ProcessLog(str(tmp_path / "t.log"))
    os.close(log.open())
    assert os.stat(log.path).st_mode & 0o777 == 0o600
