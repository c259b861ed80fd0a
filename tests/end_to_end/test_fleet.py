"""The live state of real Tritons: whose work waits where, across workers, and through the death of each process."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from deploy.triton import Triton
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.gateway_process import alive, roles
from tests.support.triton import own_triton, start_triton

pytestmark = pytest.mark.triton


def a_gateway(triton: Triton, workers: int = 2) -> Gateway:
    """In front of one Triton whose metrics page is known. The index is read when something tells to, or every 10 s."""
    endpoint = {"address": triton.grpc_address, "metrics": triton.metrics_address}
    pools = {"tritons": {"endpoints": [endpoint], "readiness": {"interval": 0.2}}}
    return Gateway([triton.grpc_address], workers=workers, settings={"pools": pools})


def endpoint(gateway: Gateway) -> dict[str, Any]:
    status, body = gateway.admin("/v1/fleet")
    assert status == 200
    (one,) = json.loads(body)["pools"]["tritons"]["endpoints"]
    found: dict[str, Any] = one
    return found


def model(gateway: Gateway, name: str) -> dict[str, Any]:
    found: dict[str, Any] = endpoint(gateway)["models"][name]["1"]
    return found


def children(gateway: Gateway) -> dict[str, int]:
    return roles(gateway.process.pid)


@contextmanager
def load(address: str, clients: int, seconds: float) -> Iterator[None]:
    """So many clients, each on a connection of its own, ask `slowt` to sleep for `seconds`, again and again."""
    ended = threading.Event()
    array = np.full((1, 1), seconds, np.float32)

    def ask() -> None:
        with tritonclient.grpc.InferenceServerClient(address) as client:
            tensor = tritonclient.grpc.InferInput("INPUT0", [1, 1], "FP32")
            tensor.set_data_from_numpy(array)
            while not ended.is_set():
                try:
                    client.infer("slowt", [tensor], client_timeout=20)
                except InferenceServerException:
                    time.sleep(0.02)  # of a worker that was killed

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)


def at_rest(gateway: Gateway) -> bool:
    one = endpoint(gateway)
    told = one["models"]["slowt"]["1"]
    assert (one["in_flight"], told["in_flight"], told["queue_depth"]) == (0, 0, 0)
    assert one["work_seconds"] < 0.01
    return True


@pytest.fixture(scope="module")
def triton() -> Triton:
    return start_triton(["slowt", "simple"])


def test_the_load_of_another_client_is_seen_and_ours_is_not_taken_for_it(triton: Triton) -> None:
    with a_gateway(triton) as gateway:
        with load(triton.grpc_address, clients=4, seconds=0.05):
            until(lambda: model(gateway, "slowt")["queue_depth"] >= 2)
            until(lambda: model(gateway, "slowt")["others_requests"] >= 2)
            until(lambda: 0.04 < (model(gateway, "slowt")["service_seconds"] or 0) < 0.2)
            until(lambda: endpoint(gateway)["others_seconds"] > 0.1)
            assert endpoint(gateway)["in_flight"] == 0
            assert model(gateway, "slowt")["expected_wait_seconds"] > 0.1
        until(lambda: endpoint(gateway)["others_seconds"] < 0.01)
        until(lambda: at_rest(gateway))
        with load(gateway.address, clients=4, seconds=0.05):
            until(lambda: model(gateway, "slowt")["queue_depth"] >= 2)
            foreign = []
            for _ in range(20):
                told = model(gateway, "slowt")
                assert told["in_flight"] <= 4
                foreign.append(told["others_requests"])
                time.sleep(0.05)
            assert sum(foreign) / len(foreign) < 0.5
            assert model(gateway, "slowt")["instances"] == 1
        until(lambda: at_rest(gateway))
        metrics = gateway.admin("/metrics")[1]
        assert 'penstock_scrapes_total{result="ok"}' in metrics
        assert "penstock_endpoint_service_seconds{" in metrics


def test_control_dies_under_load_and_the_next_one_goes_on_with_the_same_rows(triton: Triton) -> None:
    with a_gateway(triton) as gateway:
        with load(gateway.address, clients=6, seconds=0.05):
            until(lambda: endpoint(gateway)["in_flight"] >= 3)
            os.kill(children(gateway)["control"], signal.SIGKILL)
            until(lambda: gateway.admin("/healthz")[0] == 0)
            gateway.wait_ready()
            for _ in range(20):
                told = endpoint(gateway)
                assert 0 <= told["in_flight"] <= 6
                assert told["in_flight"] - 3 <= told["models"]["slowt"]["1"]["in_flight"] <= 6
                time.sleep(0.02)
            until(lambda: endpoint(gateway)["in_flight"] >= 3)
            until(lambda: model(gateway, "slowt")["service_seconds"])
        until(lambda: at_rest(gateway))


def test_what_a_killed_worker_had_in_flight_is_counted_no_more(triton: Triton) -> None:
    with a_gateway(triton) as gateway:
        with load(gateway.address, clients=8, seconds=0.3):
            until(lambda: endpoint(gateway)["in_flight"] >= 6)
            for role, pid in children(gateway).items():
                if role.startswith("worker"):
                    os.kill(pid, signal.SIGSTOP)  # so that nothing of it ends in an orderly way
                    os.kill(pid, signal.SIGKILL)
                    until(lambda pid=pid: not alive(pid))  # type: ignore[misc]
            until(lambda: gateway.admin("/readyz")[0] == 200)
        until(lambda: at_rest(gateway))


def test_a_model_that_somebody_loads_is_known_at_once() -> None:
    with own_triton(["simple", "slowt"], explicit=True) as triton:
        direct = tritonclient.grpc.InferenceServerClient(triton.grpc_address)
        direct.unload_model("slowt")
        with a_gateway(triton, workers=1) as gateway:
            until(lambda: endpoint(gateway)["metrics"]["age_seconds"] is not None)
            until(lambda: "slowt" not in endpoint(gateway)["models"] or model(gateway, "slowt")["state"] != "READY")
            time.sleep(1.0)  # no index is read now: all is settled, and the page tells
            direct.load_model("slowt")
            begun = time.monotonic()
            until(lambda: model(gateway, "slowt")["state"] == "READY")
            assert time.monotonic() - begun < 3.0
            direct.unload_model("slowt")
            until(lambda: model(gateway, "slowt")["state"] != "READY", 5)
        direct.close()
