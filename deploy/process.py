"""A server process with all its descendants, which ends when its owner wants it to, or when its owner dies.

The process leads a session and process group of its own, so that one signal reaches its children too. A guard, a shell
that waits on a pipe which only the owner holds open, kills the group if the owner is gone without doing so, even by
SIGKILL.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_GUARD = 'read -r line; kill -s KILL -- "-$0"; for prefix; do rm -rf "$prefix"*; done'

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


class Process:
    """Starts `command` at once. `log` receives its output; what begins with one of `prefixes` is removed when it ends.

    OSError when the command cannot be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        prefixes: Sequence[Path] = (),
    ) -> None:
        self.log = log
        self._prefixes = prefixes
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as output, _signals_wait():
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=directory,
                start_new_session=True,
            )
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, str(self.pid), *map(str, prefixes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self.status is None

    @property
    def status(self) -> int | None:
        """The exit status, minus the signal's number if one ended it, or None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """SIGTERM for the process itself, which ends its children as it sees fit; does not wait."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)

    def stop(self, grace: float) -> None:
        """SIGTERM, at most `grace` seconds to comply, then SIGKILL for all that is left of the group."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for the whole group, as a crash would be. Children may have outlived a leader that ended before."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._guard.kill()
        self._guard.communicate()
        for prefix in self._prefixes:
            for path in prefix.parent.glob(f"{prefix.name}*"):
                _remove(path)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of its output."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def listening_ports(pid: int) -> set[int]:
    """The TCP ports, IPv4 and IPv6, on which this process listens; none when it has ended. Linux only, see proc(5)."""
    inodes = set()
    for descriptor in glob.glob(f"/proc/{pid}/fd/*"):
        with contextlib.suppress(OSError):  # closed between the listing and the reading
            inodes.add(os.readlink(descriptor))
    rows = [line.split() for table in ("tcp", "tcp6") for line in _lines(Path(f"/proc/net/{table}"))[1:]]
    listening = [row for row in rows if row[3] == _LISTEN and f"socket:[{row[9]}]" in inodes]
    return {int(row[1].rpartition(":")[2], 16) for row in listening}


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold back what would interrupt a start between the process and its guard. They exec, so do not inherit this."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    before = {each: signal.signal(each, lambda number, frame: pending.append(number)) for each in _INTERRUPTS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in pending:
            signal.raise_signal(number)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
