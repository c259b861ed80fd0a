"""Two gateways before the same endpoints: each has its own share of them, until the other is gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc

from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.gateway_process import alive, roles
from tests.support.model_server import ModelServer, echo, model_server
from tests.support.valkey import Valkey

ENDPOINTS = 12
SERVICE = 0.05
LIFE = 5.0


class Shared:
    """Stand-ins that many gateways share: which of them got requests."""

    def __init__(self, servers: list[ModelServer]) -> None:
        self.servers = servers

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]

    def requests(self, id: str) -> list[int]:
        """Those with this id, at each."""
        return [sum(request.id == id for request in server.called("ModelInfer")) for server in self.servers]


def slow_echo(request: Any, context: Any) -> Any:
    time.sleep(SERVICE)
    return echo(request)


@pytest.fixture
def shared() -> Iterator[Shared]:
    with contextlib.ExitStack() as stack:
        yield Shared([stack.enter_context(model_server(infer=slow_echo)) for _ in range(ENDPOINTS)])


def a_gateway(shared: Shared, valkey: Valkey, workers: int = 1) -> Gateway:
    return Gateway(shared.addresses, workers=workers, settings={"state": valkey.url})


class Load:
    """Clients that ask one after the other until told to end; `failed` is what they were told instead of an answer."""

    def __init__(self, gateway: Gateway, clients: int = 4) -> None:
        self.answered = 0
        self.id = f"{gateway.port} {clients}"
        self._clients = clients
        self.failed: list[str] = []
        self._address = gateway.address
        self._ended = threading.Event()

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask) for _ in range(self._clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        with tritonclient.grpc.InferenceServerClient(self._address) as client:
            tensor = tritonclient.grpc.InferInput("INPUT0", [3], "INT32")
            tensor.set_data_from_numpy(np.arange(3, dtype=np.int32))
            while not self._ended.is_set():
                try:
                    client.infer("m", [tensor], request_id=self.id, client_timeout=10)
                    self.answered += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, it is a request that failed
                    self.failed.append(str(error))


def members(gateway: Gateway) -> dict[str, Any]:
    status, body = gateway.admin("/v1/fleet")
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)["pools"]["tritons"]["members"]
    return found


def sees(gateway: Gateway, count: int) -> bool:
    return int(members(gateway)["count"]) == count


def parts_of(shared: Shared, *loads: Load, requests: int = 300) -> list[list[float]]:
    """Which part of each gateway's requests goes to each endpoint, of the next so many."""
    before = [shared.requests(load.id) for load in loads]
    ends = [load.answered + requests for load in loads]
    until(lambda: all(load.answered >= end for load, end in zip(loads, ends, strict=True)), 60)
    parts = []
    for load, counts in zip(loads, before, strict=True):
        more = [after - first for first, after in zip(counts, shared.requests(load.id), strict=True)]
        parts.append([count / sum(more) for count in more])
    return parts


def apart(here: list[float], there: list[float]) -> bool:
    """Each of two gateways has endpoints of its own, and sends little elsewhere."""
    return sum(map(min, here, there)) < 0.2 and sum(sorted(here)[ENDPOINTS // 2 - 1 :]) > 0.9


def evenly(parts: list[float]) -> bool:
    """Each endpoint has its part of the work."""
    return min(parts) > 0.5 / ENDPOINTS


def kill(gateway: Gateway) -> None:
    """All processes of it at once, as when a machine is gone."""
    pids = [gateway.process.pid, *roles(gateway.process.pid).values()]
    os.killpg(gateway.process.pid, signal.SIGKILL)
    until(lambda: not any(map(alive, pids)))


def test_each_has_a_share_until_the_other_is_killed(shared: Shared, valkey: Valkey) -> None:
    with a_gateway(shared, valkey) as first, a_gateway(shared, valkey) as second:
        until(lambda: sees(first, 2) and sees(second, 2))
        assert 'penstock_members{pool="tritons"} 2.0' in first.admin("/metrics")[1]
        assert members(first)["names"] == members(second)["names"]
        assert {members(first)["node"], members(second)["node"]} == {0, 1}
        with Load(second) as load:
            with Load(first) as other:
                until(lambda: apart(*parts_of(shared, load, other)), 60)  # workers look at it now and then
            kill(first)
            killed = time.monotonic()
            until(lambda: sees(second, 1), 10)
            assert time.monotonic() - killed < LIFE + 1.5
            with Load(second, clients=ENDPOINTS) as more:
                until(lambda: evenly(*parts_of(shared, more)), 30)
        assert load.failed == more.failed == other.failed == []


def test_a_gateway_that_ends_in_order_leaves_at_once(shared: Shared, valkey: Valkey) -> None:
    with a_gateway(shared, valkey) as first:
        with a_gateway(shared, valkey) as second:
            until(lambda: sees(first, 2) and sees(second, 2))
        ended = time.monotonic()
        until(lambda: sees(first, 1))
        assert time.monotonic() - ended < 2.5


def test_a_new_control_is_the_same_member_and_a_lost_store_costs_no_request(shared: Shared, valkey: Valkey) -> None:
    with a_gateway(shared, valkey) as first, a_gateway(shared, valkey, workers=2) as second:
        until(lambda: sees(first, 2) and sees(second, 2))
        names = members(first)["names"]
        with Load(second) as load:
            os.kill(roles(second.process.pid)["control"], signal.SIGKILL)
            until(lambda: second.admin("/readyz")[0] == 0)
            second.wait_ready()
            until(lambda: sees(second, 2))
            assert members(second)["names"] == names
            assert sees(first, 2)
            valkey.pause()
            until(lambda: sees(first, 1) and sees(second, 1), 20)
            assert 'penstock_members{pool="tritons"} 1.0' in second.admin("/metrics")[1]
            valkey.resume()
            until(lambda: sees(first, 2) and sees(second, 2), 10)
        assert load.failed == []
        assert load.answered > 100
        said = second.log.read_text()
        assert said.count("other gateways are not known any more") == 1


def test_without_a_store_of_all_a_gateway_is_alone(shared: Shared) -> None:
    for state in ("none", "embedded"):
        with Gateway(shared.addresses, settings={"state": state}) as gateway:
            assert (members(gateway)["count"], members(gateway)["node"]) == (1, 0)
            assert "penstock_members{" not in gateway.admin("/metrics")[1]
            with Load(gateway, clients=ENDPOINTS) as load:
                until(lambda: evenly(*parts_of(shared, load)), 30)
            assert load.failed == []
