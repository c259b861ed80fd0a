"""Two gateways before the same endpoints: each has its own share of them, until the other is gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
LIFE = 5.0
CLIENTS = 2


class Shared:
    """Stand-ins that many gateways share: which of them got requests."""

    def __init__(self, servers: list[ModelServer]) -> None:
        self.servers = servers

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]

    def requests(self) -> list[int]:
        return [len(server.called("ModelInfer")) for server in self.servers]


def slow_echo(request: Any, context: Any) -> Any:
    time.sleep(0.005)
    return echo(request)


@pytest.fixture
def shared() -> Iterator[Shared]:
    with contextlib.ExitStack() as stack:
        yield Shared([stack.enter_context(model_server(infer=slow_echo)) for _ in range(ENDPOINTS)])


def a_gateway(shared: Shared, valkey: Valkey, workers: int = 1) -> Gateway:
    return Gateway(shared.addresses, workers=workers, settings={"state": valkey.url})


class Load:
    """Clients that ask one after the other until told to end; `failed` is what they were told instead of an answer."""

    def __init__(self, gateway: Gateway) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._address = gateway.address
        self._ended = threading.Event()

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
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
                    client.infer("m", [tensor], client_timeout=10)
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


def part_of(shared: Shared, gateway: Gateway, requests: int = 300) -> list[int]:
    """Where this gateway's requests go, of the next so many."""
    before = shared.requests()
    with Load(gateway) as load:
        until(lambda: load.answered >= requests, 30)
    assert load.failed == []
    return [after - first for first, after in zip(before, shared.requests(), strict=True)]


def kill(gateway: Gateway) -> None:
    """All processes of it at once, as when a machine is gone."""
    pids = [gateway.process.pid, *roles(gateway.process.pid).values()]
    os.killpg(gateway.process.pid, signal.SIGKILL)
    until(lambda: not any(map(alive, pids)))


def busy(counts: list[int]) -> set[int]:
    """The endpoints that got more than a stray request."""
    return {at for at, count in enumerate(counts) if count > 0.02 * sum(counts)}


def test_each_has_a_share_until_the_other_is_killed(shared: Shared, valkey: Valkey) -> None:
    with a_gateway(shared, valkey) as first, a_gateway(shared, valkey) as second:
        until(lambda: sees(first, 2) and sees(second, 2))
        assert 'penstock_members{pool="tritons"} 2.0' in first.admin("/metrics")[1]
        assert members(first)["names"] == members(second)["names"]
        assert {members(first)["node"], members(second)["node"]} == {0, 1}
        with ThreadPoolExecutor(2) as both:
            # Both at once, so that their loads, and with them their shares, are alike.
            counts = [*both.map(lambda load: busy_of(shared, load), (first, second))]
        assert counts == [0, 0]
        shares = []
        for gateway in (first, second):
            counts = part_of(shared, gateway)
            own = sorted(counts, reverse=True)[: ENDPOINTS // 2 + 1]
            assert sum(own) >= 0.9 * sum(counts), counts
            shares.append({at for at, count in enumerate(counts) if count >= own[-2]})
        assert len(shares[0] & shares[1]) <= 2, shares
        with Load(second) as load:
            kill(first)
            killed = time.monotonic()
            until(lambda: sees(second, 1), 10)
            assert time.monotonic() - killed < LIFE + 1.5
            before = shared.requests()
            answered = load.answered
            until(lambda: load.answered > answered + 600, 30)
        counts = [after - first for first, after in zip(before, shared.requests(), strict=True)]
        assert load.failed == []
        assert len(busy(counts)) == ENDPOINTS, counts


def busy_of(shared: Shared, gateway: Gateway) -> int:
    """Load a gateway for some seconds; how many requests failed."""
    with Load(gateway) as load:
        time.sleep(3)
    return len(load.failed)


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
            assert len(busy(part_of(shared, gateway))) == ENDPOINTS
