"""Real gateways for tests: `penstock serve` with real workers in front of given endpoints, ended with the test run.

gateway = start_gateway([triton.grpc_address])          # shared by all tests that ask for the same
with Gateway([...], workers=2) as gateway: ...          # one for a test that breaks it
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.triton import free_ports
from tests.support.build import ROOT, environment

ALL_APIS = ("inference", "metadata", "statistics", "repository", "trace", "logging", "shared_memory")
START_SECONDS = 60.0
# Ends the gateway's process group when the pipe closes that only the test run holds open, even if SIGKILL ends the run.
GUARD = 'read -r line; kill -s KILL -- "-$0"'


class Gateway:
    """One gateway over one pool of endpoints with a route for every model.

    `listen` are further fields of its listener and `settings` further top-level fields of the configuration, as in the
    file. Entering the context starts it and waits until it is ready.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        workers: int = 1,
        apis: Sequence[str] = ALL_APIS,
        listen: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        log_level: str = "info",
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="penstock-test-"))
        self.workers = workers
        self.log_level = log_level
        self.port, self.admin_port = free_ports(2)
        self.config: dict[str, Any] = {
            "listen": [{"address": self.address, "apis": list(apis), **(listen or {})}],
            "admin": {"address": self.admin_address},
            "pools": {"tritons": {"endpoints": list(endpoints), "readiness": {"interval": 0.2}}},
            "routes": [{"name": "all", "match": {"model": "*"}, "to": {"pool": "tritons"}}],
            "drain": {"delay": 0.1, "timeout": 5.0},
            **(settings or {}),
        }
        self.log = self.directory / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port` of REST and of gRPC."""
        return f"127.0.0.1:{self.port}"

    @property
    def admin_address(self) -> str:
        return f"127.0.0.1:{self.admin_port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def __enter__(self) -> Gateway:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Gateway:
        file = self.directory / "gateway.yaml"
        file.write_text(json.dumps(self.config, indent=1))
        options = ["--workers", str(self.workers), "--log-level", self.log_level]
        command = [sys.executable, "-P", "-m", "gateway", "serve", str(file), *options]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment(),
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, str(self._process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )
        return self.wait_ready()

    def wait_ready(self, timeout: float = START_SECONDS) -> Gateway:
        """Wait until `/readyz` says 200. Raises AssertionError with the log when it ends or takes too long."""
        deadline = time.monotonic() + timeout
        while self.admin("/readyz")[0] != 200:
            assert self.process.poll() is None, f"the gateway ended: {self.log.read_text()}"
            assert time.monotonic() < deadline, (
                f"the gateway is not ready: {self.admin('/readyz')} {self.log.read_text()}"
            )
            time.sleep(0.05)
        return self

    def admin(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the admin port; status 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://{self.admin_address}{path}", timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def restart(self) -> Gateway:
        """End it by SIGTERM and start it again, on the same ports."""
        assert self._end() == 0, self.log.read_text()
        return self.start()

    def stop(self, grace: float = 15.0) -> int | None:
        """SIGTERM, and SIGKILL for all of its processes after `grace` seconds; the exit code."""
        code = self._end(grace)
        shutil.rmtree(self.directory, ignore_errors=True)
        return code

    def _end(self, grace: float = 15.0) -> int | None:
        if self._process is None or self._guard is None:
            return None
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait(grace)
        self._guard.kill()
        self._guard.communicate()
        return code


_shared: dict[str, Gateway] = {}


def start_gateway(endpoints: Sequence[str], **options: Any) -> Gateway:
    """The shared gateway with exactly these arguments, ready; it ends with the test run."""
    key = repr((tuple(endpoints), sorted(options.items())))
    gateway = _shared.get(key)
    if gateway is None or gateway.process.poll() is not None:
        if gateway is not None:
            gateway.stop()
        gateway = _shared[key] = Gateway(endpoints, **options).__enter__()
    return gateway


@atexit.register
def _stop_all() -> None:
    for gateway in _shared.values():
        gateway.stop()
