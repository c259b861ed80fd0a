"""The gateway as a process with children, seen from outside: its ports, its children, its output."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec

from config.schema import Admin, Config, Drain, Endpoint, Listener, Match, Pool, Readiness, Route, Target
from tests.support.build import environment
from tests.support.deadline import until

SCRIPT = Path(__file__).with_name("fake_gateway.py")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


QUICK_DRAIN = Drain(0.3, 5.0)


def a_config(
    *endpoints: str, listen: str = "", admin: str = "127.0.0.1:0", drain: Drain = QUICK_DRAIN, interval: float = 0.2
) -> Config:
    """One listener, one pool, one route for all models."""
    readiness = Readiness(interval=interval, timeout=1.0)
    return Config(
        listen=(Listener(address=listen or f"127.0.0.1:{free_port()}"),),
        pools={"p": Pool(tuple(Endpoint(one) for one in endpoints), readiness=readiness)},
        routes=(Route(Match(("*",)), Target("p"), name="all"),),
        admin=Admin(admin),
        drain=drain,
    )


class GatewayProcess:
    """`penstock serve` with the line data plane, in a directory of its own."""

    def __init__(self, directory: Path, config: Config, workers: int = 2) -> None:
        self.config = config
        self.file = directory / "gateway.json"
        self.file.write_bytes(msgspec.json.encode(config))
        self.errors = directory / "stderr"
        self.output = directory / "stdout"
        with self.errors.open("wb") as errors, self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(SCRIPT), "serve", str(self.file), "--workers", str(workers)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=environment(TMPDIR=str(directory)),
                cwd=directory,
            )

    def kill(self) -> None:
        """End it and its children, whatever state they are in."""
        children = [*self.children().values()]
        self.process.kill()
        self.process.wait(10)
        until(lambda: not any(alive(pid) for pid in children))

    def children(self) -> dict[str, int]:
        """Role (`control`, `worker 0`) to process id."""
        return roles(self.process.pid)

    def admin(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body of a GET at the admin port."""
        request = urllib.request.Request(f"http://{self.config.admin.address}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ready(self) -> bool:
        return self.admin("/readyz")[0] == 200

    def wait_ready(self) -> None:
        """Until `/readyz` is 200; fails with the log if the process ended."""

        def probe() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}: {self.errors.read_text()}")
            return self.ready()

        until(probe)

    def missing(self) -> list[str]:
        missing: list[str] = json.loads(self.admin("/readyz")[1])["missing"]
        return missing

    def connect(self) -> Client:
        return Client(self.config.listen[0].address)

    def ask(self, line: str) -> str:
        """One line's answer, on a connection of its own."""
        with self.connect() as client:
            return client.ask(line)

    def world(self) -> dict[str, Any]:
        world: dict[str, Any] = json.loads(self.ask("world"))
        return world

    def signal(self, number: signal.Signals, role: str = "") -> None:
        os.kill(self.children()[role] if role else self.process.pid, number)

    def metric(self, line_start: str) -> float:
        """The value of the first sample that starts so."""
        for line in self.admin("/metrics")[1].splitlines():
            if line.startswith(line_start):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no {line_start}")


class Client:
    """A connection of lines."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._file = self._socket.makefile("rw")

    def send(self, line: str) -> None:
        self._file.write(f"{line}\n")
        self._file.flush()

    def receive(self) -> str:
        """The next line; empty when the other end closed."""
        return self._file.readline().strip()

    def ask(self, line: str) -> str:
        self.send(line)
        answer = self.receive()
        if not answer:
            raise ConnectionError("closed")
        return answer

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self._socket.close()


def roles(supervisor: int) -> dict[str, int]:
    """Role (`control`, `worker 0`) to process id for the children of this process, from /proc."""
    found = {}
    for pid in _child_pids(supervisor):
        words = _command_line(pid)
        if "control" in words:
            found["control"] = pid
        elif "worker" in words:
            found[f"worker {words[words.index('--index') + 1]}"] = pid
    return found


def alive(pid: int) -> bool:
    """True unless the process ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _child_pids(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
