"""Run a real Triton Inference Server on free local ports, and leave nothing of it behind.

A server and the stub processes of its Python models are one process group, with a prefix of their own for their shared
memory.
"""

from __future__ import annotations

import http.client
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.process import Process, listening_ports
from deploy.triton.environment import Environment, TritonError, default_venv, find

HOST = "127.0.0.1"
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = 1 << 20  # per model instance, grows by as much; Triton's minimum
BIND_ATTEMPTS = 4
_PORT_TAKEN = "already in use"  # in the log of Triton 2.51, for each of its services


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports that are free now; the caller must be ready to lose one to another process."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Triton:
    """One `tritonserver` process over `repository`; entering the context starts it and waits until it is ready.

    With `explicit`, models load and unload over the API, and `models` are loaded at the start (none by default);
    otherwise the whole repository is. `ports` are (HTTP, gRPC, metrics), free ones by default. `arguments` are further
    options of tritonserver, `variables` further environment variables. `log` receives what the server writes; without
    it the log goes when the server is stopped.
    """

    def __init__(
        self,
        repository: Path,
        *,
        explicit: bool = False,
        models: Sequence[str] = (),
        ports: tuple[int, int, int] | None = None,
        log: Path | None = None,
        arguments: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        venv: Path | None = None,
    ) -> None:
        self.repository = Path(repository).absolute()
        self._own_directory = None if log else Path(tempfile.mkdtemp(prefix="penstock-triton-"))
        self.log = log or Path(self._own_directory or "") / "triton.log"
        self._options = [*_model_control(explicit, models), *arguments]
        self._wanted_ports = ports
        self._variables = dict(variables or {})
        self._venv = venv
        self._prefix = f"penstock-{uuid.uuid4().hex[:12]}-"
        self._process: Process | None = None
        self.http_port, self.grpc_port, self.metrics_port = ports or (0, 0, 0)

    @property
    def http_address(self) -> str:
        return f"{HOST}:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    @property
    def metrics_address(self) -> str:
        return f"{HOST}:{self.metrics_port}"

    @property
    def process(self) -> Process:
        """The process of the last start. `TritonError` before the first."""
        if self._process is None:
            raise TritonError("this Triton was not started")
        return self._process

    @property
    def pid(self) -> int:
        """Process id, which is also the id of the process group of the server and its stubs."""
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def __enter__(self) -> Triton:
        self.start()
        try:
            return self.wait_ready()
        except BaseException:
            self.process.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Triton:
        """Start the process; `wait_ready` tells when it serves. May be called again after `stop` or `kill`."""
        if self.running:
            raise TritonError(f"this Triton runs already, as process {self.pid}")
        environment = find(self._venv)
        if environment is None:
            raise TritonError(f"no Triton in {self._venv or default_venv()}: run `make triton` first")
        if not self._wanted_ports:
            self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
        self._process = Process(
            [str(environment.binary), *self._arguments(environment)],
            self.log,
            environment=environment.variables() | self._variables,
            prefixes=[SHARED_MEMORY / self._prefix],
        )
        return self

    def wait_ready(self, timeout: float = 120.0) -> Triton:
        """Wait until the server and all its models are ready, at most `timeout` seconds.

        Raises `TritonError` with the end of the log when the server ends or takes too long. A port that was lost to
        another process between choosing and binding costs a new attempt on others.
        """
        deadline = time.monotonic() + timeout
        attempts = 1
        while not self._ready():
            lost_port = not self._wanted_ports and _PORT_TAKEN in self.process.log_tail(80)
            if lost_port and attempts < BIND_ATTEMPTS:
                attempts += 1
                self.process.kill()
                self.start()
            elif not self.running:
                raise TritonError(f"Triton ended with status {self.process.status}; {self._log_note()}")
            elif time.monotonic() > deadline:
                raise TritonError(f"Triton is not ready after {timeout:.0f} s; {self._log_note()}")
            time.sleep(0.05)
        return self

    def terminate(self) -> None:
        """Ask the server to end, without waiting: it finishes what it has accepted. `stop` or `kill` must follow."""
        self.process.terminate()

    def stop(self, grace: float = 10.0) -> None:
        """SIGTERM, then SIGKILL for the whole process group after `grace` seconds; no process and no memory is left."""
        if self._process:
            self._process.stop(grace)
        self._remove_own_directory()

    def kill(self) -> None:
        """End the server and its stubs at once by SIGKILL, as a crash would."""
        if self._process:
            self._process.kill()
        self._remove_own_directory()

    def _remove_own_directory(self) -> None:
        if self._own_directory:
            shutil.rmtree(self._own_directory, ignore_errors=True)

    def _arguments(self, environment: Environment) -> list[str]:
        python_backend = {
            "shm-region-prefix-name": self._prefix,
            "shm-default-byte-size": SHARED_MEMORY_BYTES,
            "shm-growth-byte-size": SHARED_MEMORY_BYTES,
        }
        return [
            f"--model-repository={self.repository}",
            f"--backend-directory={environment.root / 'backends'}",
            f"--cache-directory={environment.root / 'caches'}",
            *(f"--{service}-address={HOST}" for service in ("http", "grpc", "metrics")),
            f"--http-port={self.http_port}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-port={self.metrics_port}",
            *(f"--backend-config=python,{name}={value}" for name, value in python_backend.items()),
            *self._options,
        ]

    def _ready(self) -> bool:
        """Whether this very process, and not another one on a port that it lost, is ready on all its ports."""
        if not {self.http_port, self.grpc_port, self.metrics_port} <= listening_ports(self.pid):
            return False
        connection = http.client.HTTPConnection(HOST, self.http_port, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log_note(self) -> str:
        return f"its log, {self.log}, ends:\n{self.process.log_tail()}"


def _model_control(explicit: bool, models: Sequence[str]) -> list[str]:
    if not explicit:
        return ["--model-control-mode=none"]
    return ["--model-control-mode=explicit", *(f"--load-model={model}" for model in models)]
