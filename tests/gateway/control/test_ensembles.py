"""Ensembles: their queue and whose work it is, from pages made here and from those of a real Triton."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2_grpc

from config.schema import Endpoint, Metrics, Pool, Readiness
from deploy.triton import Triton
from gateway.control.ensembles import Ensembles, EnsembleShape, Step, read_ensemble
from gateway.control.fleet import Fleet
from gateway.control.load import EndpointLoad, Load, ModelLoad, Shape
from gateway.control.metrics_page import Key, Reader
from gateway.control.poller import Pollers
from gateway.control.slots import Slots
from gateway.control.triton import read_shape
from gateway.telemetry.metrics import Metrics as Counters
from routing.load_board import LoadBoard
from tests.support.deadline import eventually
from tests.support.messages import infer_request
from tests.support.metrics_pages import page
from tests.support.model_repository import MODELS, write_model

E, OUTER, A, B2, B3 = ("e", "1"), ("outer", "1"), ("a", "1"), ("b", "2"), ("b", "3")
VERSIONS = {"a": {"1"}, "b": {"2", "3"}, "e": {"1"}}
_services: Any = service_pb2_grpc


def an_ensemble(*steps: Step) -> EnsembleShape:
    shape = EnsembleShape()
    shape.steps = steps
    return shape


def some_models(**pending: float) -> dict[Key, ModelLoad]:
    models = {key: ModelLoad() for key in (E, OUTER, A, B2, B3)}
    for key, model in models.items():
        model.load = Load(pending=pending.get("".join(key), 0.0))
    models[E].shape = an_ensemble(Step("a", "1"), Step("b"))
    models[OUTER].shape = an_ensemble(Step("e"), Step("b", "2"))
    return models


def made(models: dict[Key, ModelLoad]) -> Ensembles:
    ensembles = Ensembles(lambda model: VERSIONS.get(model, set()))
    for key, model in models.items():
        ensembles.learn(key, model.shape or Shape())
    return ensembles


def test_steps_are_read_from_the_configuration() -> None:
    config: Any = model_config_pb2.ModelConfig()  # type: ignore[attr-defined]
    config.ensemble_scheduling.step.add(model_name="a", model_version=-1)
    config.ensemble_scheduling.step.add(model_name="b", model_version=3)
    assert read_ensemble(config).steps == (Step("a"), Step("b", "3"))
    assert not isinstance(read_shape(model_config_pb2.ModelConfig()), EnsembleShape)  # type: ignore[attr-defined]


def test_the_queue_of_an_ensemble_is_that_of_its_steps() -> None:
    models = some_models(a1=2, b2=3, b3=4)
    ensembles = made(models)
    assert ensembles.known == {E, OUTER}
    assert ensembles.load(E, models).pending == 2 + 3 + 4
    assert ensembles.load(OUTER, models).pending == 2 + 3 + 4 + 3
    assert ensembles.load(A, models) is models[A].load
    del models[A]
    assert ensembles.load(E, models).pending == 3 + 4
    assert ensembles.load(A, models) == Load()
    ensembles.learn(E, Shape())  # loaded anew, as something else
    assert ensembles.load(E, models).pending == 0


def test_what_is_at_an_ensemble_is_at_its_steps() -> None:
    models = some_models()
    ensembles = made(models)
    own = {A: 1.0, B2: 2.0}
    assert ensembles.spread(own, models) is own
    assert ensembles.spread({A: 1.0, E: 5.0}, models) == {A: 6.0, E: 5.0, B2: 5.0, B3: 5.0}
    assert ensembles.spread({OUTER: 1.0}, models) == {OUTER: 1.0, E: 1.0, A: 1.0, B2: 2.0, B3: 1.0}


def test_the_work_of_an_ensemble_counts_once() -> None:
    load, reader = EndpointLoad(), Reader()
    load.update(reader.read(page({E: {}, A: {}})), {}, 0.0)
    load.models[E].shape = an_ensemble(Step("a", "1"))
    working = {"success": 4, "executions": 4, "infer_us": 2e6}
    load.update(reader.read(page({E: working, A: working})), {}, 1.0)
    ensembles = made(load.models)
    assert load.total().foreign_requests == pytest.approx(2 * load.models[A].load.foreign_requests)
    total = ensembles.total(load, 3.0)
    assert total.foreign_requests == pytest.approx(load.models[A].load.foreign_requests)
    assert total.foreign_requests > 0.5
    assert total.own == 3.0


ENSEMBLE = """name: "both"
platform: "ensemble"
max_batch_size: 1
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1 ] } ]
ensemble_scheduling {
  step [
    { model_name: "first" model_version: -1
      input_map { key: "INPUT0" value: "INPUT0" } output_map { key: "OUTPUT0" value: "between" } },
    { model_name: "second" model_version: -1
      input_map { key: "INPUT0" value: "between" } output_map { key: "OUTPUT0" value: "OUTPUT0" } }
  ]
}
"""


def a_repository(directory: Path) -> Path:
    slow = replace(MODELS["slowq"], settings="dynamic_batching { }")
    for name in ("first", "second"):
        write_model(directory, name, slow)
    (directory / "both" / "1").mkdir(parents=True)
    (directory / "both" / "config.pbtxt").write_text(ENSEMBLE)
    return directory


@pytest.mark.triton
def test_a_real_ensemble(tmp_path: Path) -> None:
    async def run(triton: Triton) -> None:
        board = LoadBoard.create(None, 16, 1)
        fleet = Fleet(board, Slots(board), Counters(), lambda address: None)
        endpoint = Endpoint(triton.grpc_address, metrics=triton.metrics_address)
        pools = {"p": Pool((endpoint,), readiness=Readiness(interval=0.2), metrics=Metrics(interval=0.05))}
        pollers = Pollers(pools, lambda: None, Counters(), paged=fleet.paged)
        running = [asyncio.ensure_future(each.run()) for each in (pollers, fleet)]
        await pollers.first()
        ((told,),) = fleet.sync(pools, pollers.endpoints(), pollers.states()).values()
        rows = {name: told.models[name]["1"].slot for name in ("both", "first", "second")}
        async with grpc.aio.insecure_channel(triton.grpc_address) as channel:
            stub = _services.GRPCInferenceServiceStub(channel)

            async def ask(requests: int, seconds: float) -> None:
                request = infer_request("both", INPUT0=np.full((1, 1), seconds, np.float32))
                await asyncio.gather(*(stub.ModelInfer(request, timeout=30) for _ in range(requests)))

            await ask(2, 0.1)
            entry = fleet.entries[triton.grpc_address]
            await eventually(lambda: entry.ensembles.known == {("both", "1")})
            others = asyncio.ensure_future(ask(8, 0.2))
            await eventually(lambda: board.published(rows["both"]).pending >= 5)
            assert board.published(rows["first"]).pending >= 5
            await eventually(lambda: entry.total().foreign_requests > 5)
            assert entry.total().foreign_requests < 8 + 2, "those at the ensemble count once"
            await others
            service = entry.load(("both", "1")).service
            assert 0.2 < service < 0.6  # both steps
            worker = board.worker(0)
            for row in (told.slot, rows["both"]):
                for _ in range(8):
                    worker.add(row, service)
            most: list[float] = []
            await eventually(lambda: entry.total().foreign_requests < 0.5)
            ours = asyncio.ensure_future(ask(8, 0.2))
            while not ours.done():
                most.append(entry.total().foreign_requests)
                await asyncio.sleep(0.02)
            assert max(most) < 1, "this gateway's own requests are no one else's"
        for task in running:
            task.cancel()
        await asyncio.wait(running)

    with Triton(a_repository(tmp_path / "models")) as triton:
        triton.wait_ready()
        asyncio.run(run(triton))
