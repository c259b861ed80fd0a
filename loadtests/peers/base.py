"""What a peer is: something that serves a dialect in front of Triton, whose processes can be measured."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from loadtests.exchange import Address, Dialect, Headers

HOST = "127.0.0.1"
START_TIMEOUT, STOP_TIMEOUT = 30.0, 10.0


class PeerError(RuntimeError):
    """A peer did not start; the text holds the end of its log."""


@dataclass(frozen=True)
class Backend:
    """The Triton that all peers share: where its two front ends listen, its version and its first process."""

    rest: Address
    grpc: Address
    version: str
    pid: int


def free_address() -> Address:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return Address(HOST, probe.getsockname()[1])


class Peer(ABC):
    """A server under measurement, with one worker. Use as a context manager: entering starts it, leaving stops it."""

    name: ClassVar[str]
    label: ClassVar[str]
    dialects: ClassVar[tuple[Dialect, ...]]

    def __init__(self, backend: Backend, scratch: Path) -> None:
        self.backend = backend
        self.scratch = scratch
        self.address = free_address()

    @property
    def headers(self) -> Headers:
        """What each request must carry beside its own: a credential, where this peer wants one."""
        return ()

    @classmethod
    def missing(cls) -> str | None:
        """Why this peer cannot run here and how to install it, or None."""
        return None

    @classmethod
    def version(cls) -> str | None:
        """The version of its software, or None when it has none of its own."""
        return None

    @property
    @abstractmethod
    def pids(self) -> tuple[int, ...]:
        """The first processes of the peer; descendants are found by the measurement. Empty without a process."""

    @abstractmethod
    def start(self) -> None:
        """Start and wait until it serves. Raises PeerError."""

    @abstractmethod
    def stop(self) -> None:
        """Stop; nothing is left running."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class ProcessPeer(Peer):
    """A peer that is a process of its own: a subclass says how it is called."""

    def __init__(self, backend: Backend, scratch: Path) -> None:
        super().__init__(backend, scratch)
        self.log = scratch / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Write what configuration it needs under `scratch` and return the command line."""

    def environment(self) -> dict[str, str]:
        """Its environment variables; by default ours."""
        return dict(os.environ)

    def ready(self) -> bool:
        """True when it serves; by default when Triton's liveness answers 200 through it."""
        return get_status(self.address, "/v2/health/live") == 200

    @property
    def pids(self) -> tuple[int, ...]:
        """The process that was started."""
        return (self._process.pid,) if self._process else ()

    def start(self) -> None:
        """Start the process in a session of its own and wait until it is ready. Raises PeerError."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment(),
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self.ready():
            if self._process.poll() is not None:
                raise PeerError(f"{self.name} ended with status {self._process.returncode}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise PeerError(f"{self.name} is not ready after {START_TIMEOUT:.0f} s:\n{self._log_tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for whatever is left of its process group."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def get_status(address: Address, path: str) -> int | None:
    """The status of a GET, or None when nobody answers."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def accepts(address: Address) -> bool:
    """True when a TCP connection opens."""
    try:
        socket.create_connection((address.host, address.port), timeout=2).close()
    except OSError:
        return False
    return True
