"""How a managed Triton is started: its command line and environment, and what about them makes a restart necessary."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from config.schema import Managed, Models

HIGHEST_PORT = 65535
_OWN_ROOT = str(Path(__file__).resolve().parent.parent.parent)


class Ports(NamedTuple):
    """Where a Triton listens."""

    grpc: int
    metrics: int


class Launch(msgspec.Struct, frozen=True):
    """What one Triton is started with, but for its ports. Two that are equal need no restart. `gpus` is its
    CUDA_VISIBLE_DEVICES, None to leave that alone; `explicit` is its model control mode."""

    command: tuple[str, ...]
    repository: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: dict[str, str]
    host: str
    gpus: str | None
    explicit: bool

    @classmethod
    def of(cls, spec: Managed, models: Models, replica: int) -> Launch:
        """That of the replica with this number: the devices go round."""
        return cls(
            spec.command,
            tuple(os.path.abspath(each) for each in spec.repository),
            spec.arguments,
            spec.environment,
            spec.host,
            spec.gpus[replica % len(spec.gpus)] if spec.gpus else None,
            models.mode != "repository",
        )

    @property
    def key(self) -> str:
        """The same for equal launches, also in another process."""
        return sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:32]

    def words(self, ports: Ports, prefix: str) -> list[str]:
        """The command line. `prefix` begins the names of the shared memory of its Python models, so that what a killed
        one leaves can be found. An option that the operator gives is not given a second time.

        A model that fails must not take the others down, hence `exit-on-error`; its HTTP front end has no caller.
        """
        mode = "explicit" if self.explicit else "none"
        options = (
            *(("model-repository", each) for each in self.repository),
            ("model-control-mode", mode),
            ("exit-on-error", "false"),
            ("allow-http", "false"),
            ("grpc-address", self.host),
            ("grpc-port", str(ports.grpc)),
            ("metrics-address", self.host),
            ("metrics-port", str(ports.metrics)),
        )
        words = [f"--{name}={value}" for name, value in options if not self._gives(f"--{name}")]
        if not any("shm-region-prefix-name" in each for each in self.arguments):
            words.append(f"--backend-config=python,shm-region-prefix-name={prefix}")
        return [*self.command, *words, *self.arguments]

    def _gives(self, option: str) -> bool:
        return any(each == option or each.startswith(f"{option}=") for each in self.arguments)

    def variables(self) -> dict[str, str]:
        """The environment: this process's own, without the path to our packages, and what the operator gives."""
        variables = {**os.environ, **self.environment}
        path = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each not in ("", _OWN_ROOT)]
        if "PYTHONPATH" not in self.environment:
            variables["PYTHONPATH"] = os.pathsep.join(path)
            if not path:
                del variables["PYTHONPATH"]
        if self.gpus is not None:
            variables["CUDA_VISIBLE_DEVICES"] = self.gpus
        return variables


def free_ports(host: str, first: int, taken: Collection[int]) -> Ports:
    """Two ports of `host` that nobody has now: the first free ones from `first` on, any when it is 0; none of `taken`.

    Another process may be faster; then the Triton ends at once and is started again. `OSError` when all are taken.
    """
    candidates: Iterable[int] = range(first, HIGHEST_PORT + 1) if first else (0 for _ in range(1000))
    found: list[int] = []
    for candidate in candidates:
        port = _bind(host, candidate) if candidate not in taken else None
        if port is not None and port not in taken and port not in found:
            found.append(port)
        if len(found) == len(Ports._fields):
            return Ports(*found)
    raise OSError(f"no free ports of {host} from {first} on")


def are_free(host: str, ports: Ports) -> bool:
    """Does nobody have these now?"""
    return all(_bind(host, port) is not None for port in ports)


def _bind(host: str, port: int) -> int | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection in TIME_WAIT does not hold a port
        try:
            one.bind((host, port))
        except OSError:
            return None
        bound: int = one.getsockname()[1]
        return bound
