"""Run a real Triton Inference Server on free local ports, and leave nothing of it behind.

A server runs in a session of its own together with the stub processes of its Python models, so that one signal reaches
them all, and with a prefix of its own for its shared memory. A guard process ends them when their owner dies without
stopping them, even by SIGKILL.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.triton.environment import Environment, TritonError, default_venv, find

HOST = "127.0.0.1"
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = 1 << 20  # per model instance, grows by as much; Triton's minimum
BIND_ATTEMPTS = 4
# Waits for the owner's end of a pipe to close, then ends the server's process group and its shared memory.
_GUARD = 'read -r line; kill -s KILL -- "-$1"; rm -f "$2"*'


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
    options of tritonserver, `variables` further environment variables. `log` receives what the server writes.
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
        self.log = log or Path(tempfile.mkdtemp(prefix="penstock-triton-")) / "triton.log"
        self._options = [*_model_control(explicit, models), *arguments]
        self._wanted_ports = ports
        self._variables = dict(variables or {})
        self._venv = venv
        self._prefix = f"penstock-{uuid.uuid4().hex[:12]}-"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
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
    def pid(self) -> int:
        """Process id, which is also the id of the process group of the server and its stubs."""
        if self._process is None:
            raise TritonError("this Triton was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Triton:
        self.start()
        try:
            return self.wait_ready()
        except BaseException:
            self.kill()
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
        self._spawn(environment)
        return self

    def wait_ready(self, timeout: float = 90.0) -> Triton:
        """Wait until the server and all its models are ready, at most `timeout` seconds.

        Raises `TritonError` with the end of the log when the server ends or takes too long. A port that was lost to
        another process between choosing and binding costs a new attempt on others.
        """
        deadline = time.monotonic() + timeout
        attempts = 1
        while not self._ready():
            if not self.running:
                lost_port = "Address already in use" in self.log_tail(80) or "failed to start" in self.log_tail(80)
                if self._wanted_ports or not lost_port or attempts >= BIND_ATTEMPTS:
                    raise TritonError(f"Triton ended with status {self._status()}\n{self._log_note()}")
                attempts += 1
                self._end()
                self.start()
            if time.monotonic() > deadline:
                raise TritonError(f"Triton is not ready after {timeout:.0f} s\n{self._log_note()}")
            time.sleep(0.05)
        return self

    def stop(self, grace: float = 10.0) -> None:
        """SIGTERM, then SIGKILL for the whole process group after `grace` seconds; no process and no memory is left."""
        self.terminate()
        self._wait(grace)
        self._end()

    def terminate(self) -> None:
        """Ask the server to end, without waiting: it finishes what it has accepted. `stop` or `kill` must follow."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the server and its stubs at once by SIGKILL, as a crash would."""
        self._end()

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of what the server wrote."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _spawn(self, environment: Environment) -> None:
        if not self._wanted_ports:
            self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [str(environment.binary), *self._arguments(environment)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment.variables() | self._variables,
                start_new_session=True,
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "triton-guard", str(self.pid), str(SHARED_MEMORY / self._prefix)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

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
        connection = http.client.HTTPConnection(HOST, self.http_port, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _status(self) -> int | None:
        return self._process.poll() if self._process else None

    def _log_note(self) -> str:
        return f"its log, {self.log}, ends:\n{self.log_tail()}"

    def _wait(self, seconds: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def _end(self) -> None:
        """Whatever is left: stubs outlive a server that was killed, and their memory outlives them."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        for region in SHARED_MEMORY.glob(f"{self._prefix}*"):
            region.unlink(missing_ok=True)


def _model_control(explicit: bool, models: Sequence[str]) -> list[str]:
    if not explicit:
        return ["--model-control-mode=none"]
    return ["--model-control-mode=explicit", *(f"--load-model={model}" for model in models)]
