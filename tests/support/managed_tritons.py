"""Gateways that run their own real Tritons: the part of a configuration that starts them, and looking at what runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from deploy.triton import Environment, find
from tests.support.gateway import Gateway
from tests.support.model_repository import MODELS, write_model
from tests.support.processes import _all

_OWN = ("LD_LIBRARY_PATH", "PATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def installed() -> Environment:
    environment = find()
    assert environment is not None, "run `make triton` first"
    return environment


def managed(repository: Path, **more: Any) -> dict[str, Any]:
    """`managed:` of a pool over the installed Triton."""
    environment = installed()
    variables = environment.variables()
    return {
        "repository": str(repository),
        "command": str(environment.binary),
        "arguments": [
            f"--backend-directory={environment.root / 'backends'}",
            f"--cache-directory={environment.root / 'caches'}",
            "--backend-config=python,shm-default-byte-size=1048576",
            "--backend-config=python,shm-growth-byte-size=1048576",
            *more.pop("arguments", ()),
        ],
        "environment": {name: variables[name] for name in _OWN} | more.pop("environment", {}),
        "backoff": "100ms",
        **more,
    }


def copies(repository: Path, names: list[str], model: str = "simple") -> Path:
    """A repository that has one model under several names."""
    for name in names:
        write_model(repository, name, MODELS[model])
    return repository


def gateway(pool: dict[str, Any], **options: Any) -> Gateway:
    """A gateway over this one pool."""
    more = options.pop("pools", {})
    readiness = {"interval": 0.2}
    settings = {"pools": {"tritons": {"readiness": readiness, **pool}, **more}, **options.pop("settings", {})}
    return Gateway([], settings=settings, **options)


def tritons_of(gateway: Gateway) -> dict[int, int]:
    """Process id to gRPC port of the Tritons that this gateway runs."""
    found = {}
    for pid, _ in _all():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            variables = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
        except OSError:
            continue
        place = next((each for each in variables if each.startswith("PENSTOCK_TEST_PLACE=")), "")
        if place == f"PENSTOCK_TEST_PLACE={gateway.directory}" and words[0].endswith("tritonserver"):
            found[pid] = next(int(each.partition("=")[2]) for each in words if each.startswith("--grpc-port="))
    return found


def metric(gateway: Gateway, name: str, **labels: str) -> float:
    """The sum of the samples of a metric that have these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    total = 0.0
    for line in gateway.admin("/metrics")[1].splitlines():
        if re.match(rf"{name}[ {{]", line) and all(each in line for each in wanted):
            total += float(line.rpartition(" ")[2])
    return total
