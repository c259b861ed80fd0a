"""Processes that tests kill under load, and how they come back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from deploy.triton import Triton
from tests.support.counters import value
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.gateway_process import alive
from tests.support.sockets import connected


def crash(pid: int, told: set[int]) -> None:
    """SIGKILL, and wait until the kernel has told the clients of the process, which have these ports. The load stands
    still meanwhile."""
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while alive(pid) or told & connected():
        assert time.monotonic() < end
        time.sleep(0.001)


async def apart(probe: Callable[[], Any], seconds: float = 20.0) -> Any:
    """`until` in a thread, so that the load goes on."""
    return await asyncio.to_thread(until, probe, seconds)


def before_tritons(
    tritons: Sequence[Triton], workers: int = 2, pick: str = "expected_wait", **settings: Any
) -> Gateway:
    """A gateway that polls often, so that a test need not wait long; `settings` are further ones of its file."""
    endpoints = [triton.grpc_address for triton in tritons]
    pool = {"endpoints": endpoints, "pick": pick, "readiness": {"interval": 0.2, "timeout": 0.5}}
    return Gateway([], workers=workers, settings={"pools": {"tritons": pool}, **settings})


def is_live(gateway: Gateway, triton: Triton) -> bool:
    return value(gateway, "penstock_endpoint_ready", endpoint=triton.grpc_address) == 1


def in_flight(gateway: Gateway, triton: Triton) -> int:
    """Requests of all workers that are at a Triton now."""
    pools = json.loads(gateway.admin("/v1/fleet")[1])["pools"].values()
    endpoints = [each for pool in pools for each in pool["endpoints"]]
    return sum(each["in_flight"] or 0 for each in endpoints if each["address"] == triton.grpc_address)


def served(gateway: Gateway, triton: Triton) -> float:
    """Calls that this Triton has answered."""
    return value(gateway, "penstock_upstream_requests_total", endpoint=triton.grpc_address, outcome="ok")


async def back_in_rotation(gateway: Gateway, triton: Triton) -> None:
    """Return when the endpoint is live and has answered calls of the load."""
    await apart(lambda: is_live(gateway, triton))
    before = await asyncio.to_thread(served, gateway, triton)
    await apart(lambda: served(gateway, triton) > before + 20)


def restart(triton: Triton) -> None:
    """Start a killed Triton again, on the ports that it had."""
    triton._wanted_ports = (triton.http_port, triton.grpc_port, triton.metrics_port)
    triton.start().wait_ready()
