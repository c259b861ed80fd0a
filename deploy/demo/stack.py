"""The demo's servers: two real Tritons over `deploy/models`, and the gateway in front of them.

`python -m gateway serve FILE` is the command that is run, with the interpreter of this process.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.process import Process
from deploy.progress import Progress, Say
from deploy.triton import Triton, TritonError, free_ports, install
from deploy.triton.environment import PROJECT

HOST = "127.0.0.1"
MODELS = PROJECT / "deploy" / "models"
STATE = PROJECT / ".demo-state"
PROGRAM = (sys.executable, "-m", "gateway")
GATEWAY = (*PROGRAM, "serve")
TRITONS = 2
WORKERS = 2
PORT, ADMIN_PORT = 8080, 9901
READY_S = 30.0
GRACE_S = 10.0

DOOR = """\
policies:
  per_caller: {kind: rate_limit, rate: 1/s, burst: 5, mode: exact}
routes:
  - match: {model: add_sub}
    to: tritons
    policies: [{kind: api_key}, per_caller, {kind: cache, ttl: 10m, store_timeout: 100ms}]
"""
"""What stands in the configuration for the model that asks who calls."""
CONFIG = """\
listen:
  - address: {listen}
    apis: [inference, metadata]
admin: {{address: "{admin}"}}
workers: {workers}
drain: {{delay: 0s, timeout: 5s}}
state_directory: .
state: {{url: embedded, timeout: 1s}}

pools:
  tritons:
    kind: triton
    endpoints: [{endpoints}]

{door}  - match: {{model: "*"}}
    to: tritons
"""


class DemoError(RuntimeError):
    """The demo cannot go on; the text names what failed and its log file."""


class Stack:
    """All servers of the demo. Entering starts them, leaving ends them; if something failed, `directory` keeps logs.
    `state` is what outlives them, a folder in `directory` and no longer than that if not given."""

    def __init__(self, say: Say = print, gateway: Sequence[str] = GATEWAY, state: Path | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="penstock-demo-"))
        self.state = state or self.directory / "state"
        self._lock: int | None = None
        self.tritons = [Triton(MODELS, log=self.directory / f"triton-{i}.log") for i in range(1, TRITONS + 1)]
        self.port, self.admin_port = PORT, ADMIN_PORT
        self._command = gateway
        self._gateway: Process | None = None
        self._progress = Progress(say)

    @property
    def address(self) -> str:
        """`host:port` of the gateway, REST and gRPC."""
        return f"{HOST}:{self.port}"

    @property
    def admin_address(self) -> str:
        return f"{HOST}:{self.admin_port}"

    @property
    def config(self) -> Path:
        return self.state / "gateway.yaml"

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self.stop(keep_logs=True)
            raise
        return self

    def restart(self) -> None:
        """The gateway once more, at the same address, with what it has kept. Raises `DemoError`."""
        self._progress("stopping the gateway")
        self._started().stop(GRACE_S)
        self._start_gateway()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop(keep_logs=kind is not None and issubclass(kind, DemoError))

    def check_running(self) -> None:
        """Raise `DemoError` when a server has ended by itself."""
        for name, server in [("Triton", triton.process) for triton in self.tritons] + [
            ("the gateway", self._started())
        ]:
            if not server.running:
                raise DemoError(f"{name} ended with status {server.status}; {_log_note(server)}")

    def stop(self, *, keep_logs: bool = False) -> None:
        """The gateway first, so that it drains against live Tritons; then those, side by side."""
        if self._gateway:
            self._gateway.stop(GRACE_S)
        started = [triton for triton in self.tritons if triton.running]
        for triton in started:
            triton.terminate()
        for triton in self.tritons:
            triton.stop(GRACE_S)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if not keep_logs:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _take_state(self) -> None:
        """Two gateways cannot share what an embedded store keeps: a second demo has a state of its own."""
        self.state.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._progress(f"another demo has {named(self.state)}; what this one keeps goes with it")
            self._lock, self.state = None, self.directory / "state"
            self.state.mkdir(mode=0o700)

    def _start(self) -> None:
        self._take_state()
        try:
            install(say=self._progress)
            self._progress(f"starting {TRITONS} Tritons over {MODELS.relative_to(PROJECT)}")
            for triton in self.tritons:
                triton.start()
            for triton in self.tritons:
                triton.wait_ready()
                self._progress(f"Triton is ready: gRPC {triton.grpc_address}, process {triton.pid}")
        except TritonError as error:
            raise DemoError(str(error)) from error
        self.port, self.admin_port = _choose_ports()
        self._write_config()
        self._start_gateway()

    def _start_gateway(self) -> None:
        self._progress(f"starting the gateway with {WORKERS} workers")
        self._gateway = Process(
            [*self._command, str(self.config)],
            self.directory / "gateway.log",
            directory=PROJECT,
            prefixes=(self.state / "penstock-",),  # where its processes meet, which it leaves behind if it is killed
        )
        deadline = time.monotonic() + READY_S
        while not _ready(self.admin_port):
            if not self._gateway.running:
                raise DemoError(f"the gateway ended with status {self._gateway.status}; {_log_note(self._gateway)}")
            if time.monotonic() > deadline:
                raise DemoError(f"the gateway is not ready after {READY_S:.0f} s; {_log_note(self._gateway)}")
            time.sleep(0.05)
        self._progress(f"the gateway is ready: {self.address}, process {self._gateway.pid}")

    def _started(self) -> Process:
        if self._gateway is None:
            raise DemoError("the gateway was not started")
        return self._gateway

    def _write_config(self) -> None:
        endpoints = ", ".join(f'"{triton.grpc_address}"' for triton in self.tritons)
        addresses = {"listen": self.address, "admin": self.admin_address, "endpoints": endpoints}
        self.config.write_text(CONFIG.format(workers=WORKERS, door=DOOR, **addresses))


def named(path: Path) -> str:
    """What to call a file or folder: relative to the project where it is in there."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def _choose_ports() -> tuple[int, int]:
    """The ports that the documentation names where they are free, others where not."""
    spare = free_ports(2)
    return (PORT if _free(PORT) else spare[0], ADMIN_PORT if _free(ADMIN_PORT) else spare[1])


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As a server does: connections that linger after a demo before this one are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _ready(admin_port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, admin_port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _log_note(process: Process) -> str:
    return f"its log, {process.log}, ends:\n{process.log_tail()}"
