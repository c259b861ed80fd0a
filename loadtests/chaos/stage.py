"""What is put through chaos: two static Tritons, two that the gateway runs, and the gateway with two workers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deploy.triton import Triton
from gateway.rundir import RunDirectory
from loadtests.chaos.clients import ON_DEMAND, SEQUENCES
from tests.support.counters import value
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.gateway_process import roles
from tests.support.managed_tritons import copies, managed, tritons_of
from tests.support.triton import own_tritons

STATIC = ("simple", "slow", "mock_llm", "repeat_int32", SEQUENCES)
REPLICAS = 2
ROOM = 3
SLOW_DOWN = """
import os, time
_quickly = TritonPythonModel.execute
def _execute(self, requests):
    if os.path.exists(os.path.join(os.path.dirname(__file__), "slow_down")):
        time.sleep(0.25)
    return _quickly(self, requests)
TritonPythonModel.execute = _execute
"""


class Stage:
    """All that runs. `directory` is the gateway's own, where the load board and the sequences are."""

    def __init__(self, tritons: list[Triton], gateway: Gateway) -> None:
        self.tritons = tritons
        self.gateway = gateway

    @property
    def directory(self) -> RunDirectory:
        (path,) = (self.gateway.directory / "state").glob("penstock-*")
        return RunDirectory(str(path))

    def processes(self) -> dict[str, int]:
        """Role to process id: the supervisor, control, and the workers."""
        pid = self.gateway.process.pid
        return {"supervisor": pid, **roles(pid)}

    def managed(self) -> list[int]:
        """The process ids of the gateway's own Tritons."""
        return sorted(tritons_of(self.gateway))

    def fleet(self) -> list[dict[str, Any]]:
        """All endpoints as `/v1/fleet` tells them, each with its pool. Raises OSError while control is away."""
        status, body = self.gateway.admin("/v1/fleet")
        if status != 200:
            raise ConnectionError(body)
        pools = json.loads(body)["pools"]
        return [{"pool": name, **each} for name, pool in pools.items() for each in pool["endpoints"]]

    def troubles(self) -> list[str]:
        """What is not as it was at the start; empty when all is healed."""
        status, body = self.gateway.admin("/readyz")
        if status != 200:
            return [f"not ready: {body}"]
        found = []
        for one in self.fleet():
            if not one["live"]:
                found.append(f"{one['address']} is not live: {one['reason']}")
            found += [
                f"{model} is not ready at {one['address']}"
                for model in (STATIC if one["pool"] == "fixed" else ())
                if one["models"].get(model, {}).get("1", {}).get("state") != "READY"
            ]
        if len(self.fleet()) != len(self.tritons) + REPLICAS:
            found.append("an endpoint is missing")
        if ejected := value(self.gateway, "penstock_ejected"):
            found.append(f"{ejected:.0f} times a worker passes over an endpoint")
        return found


@contextmanager
def staged() -> Iterator[Stage]:
    """Start it all, and leave nothing behind."""
    with own_tritons(STATIC, STATIC) as tritons:
        for triton in tritons:
            with (triton.repository / "simple" / "1" / "model.py").open("a") as code:
                code.write(SLOW_DOWN)
        gateway = _gateway(tritons)
        copies(gateway.directory / "models", list(ON_DEMAND))
        with gateway:
            stage = Stage(tritons, gateway)
            until(lambda: not stage.troubles(), 60)
            yield stage


def _gateway(tritons: list[Triton]) -> Gateway:
    gateway = Gateway([], workers=2)
    directory = gateway.directory
    environment = {"PENSTOCK_TEST_PLACE": str(directory)}
    shared = {
        "readiness": {"interval": 0.25, "timeout": 0.5},
        "outliers": {"base": "300ms", "max": "1s"},
        "slow_start": "500ms",
        "sequence_idle": "4s",
    }
    endpoints = [{"address": each.grpc_address, "metrics": each.metrics_address} for each in tritons]
    own = managed(directory / "models", replicas=REPLICAS, environment=environment, max_backoff="1s", crash_loop=1000)
    models = {"mode": "on_demand", "max_loaded": ROOM, "failure_backoff": "300ms", "load_timeout": "20s"}
    retry = {"kind": "retry", "attempts": 3, "idempotent": True}
    gateway.config |= {
        "state_directory": str(directory / "state"),
        "pools": {
            "fixed": {"endpoints": endpoints, "pick": "expected_wait", **shared},
            "own": {"managed": own, "models": models, "pick": "expected_wait", **shared},
        },
        "routes": [
            {"name": "on demand", "match": {"model": "demand*"}, "to": {"pool": "own"}, "timeout": "20s"},
            {
                "name": "simple",
                "match": {"model": "simple"},
                "to": {"pool": "fixed"},
                "policies": [retry],
                "timeout": "5s",
            },
            {"name": "rest", "match": {"model": "*"}, "to": {"pool": "fixed"}, "timeout": "10s"},
        ],
    }
    return gateway


async def apart(probe: Callable[[], Any], seconds: float) -> Any:
    """The first true value of `probe`, asked in a thread so that the load goes on; the last one after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = None
        with suppress(OSError, AssertionError, ValueError):
            found = await asyncio.to_thread(probe)
        if found or time.monotonic() > end:
            return found
        await asyncio.sleep(0.1)


def flag(triton: Triton) -> Path:
    """The file that slows `simple` down there."""
    return triton.repository / "simple" / "1" / "slow_down"
