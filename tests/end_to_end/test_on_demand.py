"""Models that are loaded when somebody asks for them, at real Tritons: once for a burst, and within bounds."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from loadtests.on_demand import Traffic, play, report
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.hammer import BODY, ask
from tests.support.managed_tritons import copies, gateway, managed, metric
from tests.support.messages import infer_request
from tests.support.model_repository import MODELS, write_model

pytestmark = [pytest.mark.triton, pytest.mark.slow]
_messages: Any = service_pb2
_services: Any = service_pb2_grpc

NAMES = [f"m{number}" for number in range(5)]
ROOM = 4
HOT = 500
CLIENTS = 5
ONES = np.ones((1, 16), np.int32)


@pytest.fixture
def on_demand(tmp_path: Path) -> Iterator[Gateway]:
    repository = copies(tmp_path / "models", NAMES)
    write_model(repository, "badload", MODELS["badload"])
    models = {"mode": "on_demand", "max_loaded": ROOM, "load_timeout": "60s", "failure_backoff": "2s"}
    with gateway({"managed": managed(repository), "models": models}, workers=2) as one:
        yield one


def infer(gateway: Gateway, model: str, timeout: float = 60.0) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(gateway.address, timeout=timeout)
    connection.request("POST", f"/v2/models/{model}/infer", BODY, {"content-type": "application/json"})
    reply = connection.getresponse()
    body = json.loads(reply.read())
    connection.close()
    return reply.status, body


def test_a_burst_for_a_cold_model_causes_one_load(on_demand: Gateway) -> None:
    async def client() -> list[int]:
        options = (("grpc.use_local_subchannel_pool", 1),)  # a connection has at most 128 streams
        async with grpc.aio.insecure_channel(on_demand.address, options=options) as channel:
            stub = _services.GRPCInferenceServiceStub(channel)
            request = infer_request("m0", INPUT0=ONES, INPUT1=ONES)
            replies = await asyncio.gather(*(stub.ModelInfer(request, timeout=60) for _ in range(HOT // CLIENTS)))
            return [len(reply.raw_output_contents) for reply in replies]

    async def burst() -> list[list[int]]:
        return await asyncio.gather(*(client() for _ in range(CLIENTS)))

    assert asyncio.run(burst()) == [[2] * (HOT // CLIENTS)] * CLIENTS
    assert metric(on_demand, "penstock_model_loads_total", result="ok") == 1
    until(lambda: metric(on_demand, "penstock_model_waits_total", result="loaded") == HOT)
    until(lambda: metric(on_demand, "penstock_model_waiting") == 0)


def test_many_models_in_little_room_fail_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = play(Traffic(models=20, room=ROOM, rate=3.0, seconds=20.0, deadline=12.0), tmp_path)
    with capsys.disabled():
        print(f"\n{report(outcome)}")
    assert outcome.failures == {}
    assert outcome.requests == len(outcome.traffic.schedule())
    assert max(outcome.most_held, outcome.most_told) <= ROOM
    assert outcome.looks > 100
    assert outcome.loads - outcome.unloads <= ROOM < outcome.loads
    assert outcome.failed_loads == 0
    assert len(outcome.seconds) > outcome.late
    assert outcome.told["hit_rate"] == pytest.approx(outcome.hit_rate, abs=0.05)  # a call may end between two counts
    assert outcome.told["loads"] == outcome.loads
    hits, misses = outcome.parts()
    assert np.median(hits) < np.median(misses) / 5


def test_each_reason_has_its_own_answer(on_demand: Gateway) -> None:
    connection = http.client.HTTPConnection(on_demand.address, timeout=60)
    assert ask(connection, "m1") == "ok"
    status, body = infer(on_demand, "nothing")
    assert (status, body["error"]) == (404, "Request for unknown model: 'nothing' is not found")
    status, body = infer(on_demand, "badload")
    assert status == 503
    assert body["error"].startswith("model 'badload' does not load: ")
    assert "a_module_that_does_not_exist" in body["error"]
    began = time.monotonic()
    status, again = infer(on_demand, "badload")
    assert (status, again["error"]) == (503, body["error"])
    assert time.monotonic() - began < 0.5  # remembered
    assert metric(on_demand, "penstock_model_loads_total", result="failed") == 1
    connection.request("GET", "/v2/models/m2/ready")
    assert connection.getresponse().read() is not None
    connection.close()
    assert metric(on_demand, "penstock_model_loads_total", result="ok") == 1  # asking is not wanting
    request = infer_request("m3", INPUT0=ONES, INPUT1=ONES)
    with grpc.insecure_channel(on_demand.address) as channel, pytest.raises(grpc.RpcError) as late:
        _services.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=0.3)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    until(lambda: metric(on_demand, "penstock_model_waiting") == 0)
