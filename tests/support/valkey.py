"""A real valkey-server of a test's own, on a Unix socket in a directory of its own, and what can befall it.

def test_something(valkey: Valkey) -> None:            # the fixture of tests/conftest.py
    valkey.pause()

with Valkey() as valkey: ...                           # or one by hand; `async with` does the same
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from state.server import find_server
from tests.support.deadline import until

_DIE_WITH_PARENT = (sys.executable, "-S", "-E", "-c", """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
os.execv(sys.argv[1], sys.argv[1:])
""")  # fmt: skip
"""Begins a command line. A `preexec_fn` would make Python fork, and gRPC, once it is loaded, does its own in a fork."""


class Valkey:
    """It runs once made. `socket` is the path of its Unix socket; `options` are further options of its command line,
    with "-" written as "_", such as `maxmemory="2mb"`. With `persistent`, `restart` brings back what was written. With
    `sentinel`, the text of its file, it is a sentinel."""

    def __init__(self, *, persistent: bool = False, port: int = 0, sentinel: str = "", **options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.socket = str(self.directory / "s")
        self.port = port
        self.log = self.directory / "log"
        self._sentinel = sentinel
        kept = {"appendonly": "yes" if persistent else "no", "save": ""}
        self._options = {} if sentinel else kept | {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """As a configuration names it."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = [*_DIE_WITH_PARENT, find_server()]
        if self._sentinel:
            file = self.directory / "sentinel.conf"
            file.write_text(self._sentinel)
            words += [str(file), "--sentinel"]
        words += [word for name, value in self._options.items() for word in (f"--{name}", *value.split(" "))]
        words += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        words += ["--unixsocket", self.socket, "--unixsocketperm", "700"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers)

    def ask(self, *words: str) -> bytes:
        """The raw answer to one command, up to 64 KiB of it."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(self.socket)
            parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
            sock.sendall(b"*%d\r\n" % len(parts) + b"".join(parts))
            return sock.recv(65536)

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Without `persistent` all is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """`kill`, and start it again at the same socket."""
        self.kill()
        self.start()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Valkey:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Valkey:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"valkey-server ended with {self._process.returncode}: {self.log.read_text()}")
        return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
