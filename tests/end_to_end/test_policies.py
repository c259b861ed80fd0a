"""Policies around requests through a whole gateway before real Tritons, with their own clients over REST and gRPC."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http
from tritonclient.utils import InferenceServerException

from deploy.triton import Triton
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.rest import rest
from tests.support.triton import start_tritons

pytestmark = pytest.mark.triton

POLICIES = [
    {
        "kind": "headers",
        "request": {"set": {"x-gateway": "penstock"}, "forward": ["x-team"]},
        "answer": {"set": {"x-served-by": "{route}"}},
    },
    {"kind": "bounds", "max_batch": 4},
    {"kind": "validate"},
]


@pytest.fixture(scope="module")
def tritons() -> list[Triton]:
    return start_tritons(2, ("simple", "simple_string", "repeat_int32"))


@pytest.fixture(scope="module")
def gateway(tritons: list[Triton]) -> Iterator[Gateway]:
    """`simple` is mirrored to the second Triton; the models of text and streams stay with the first."""
    first, second = (triton.grpc_address for triton in tritons)
    mirror = {"kind": "mirror", "to": {"pool": "shadow"}}
    settings = {
        "pools": {name: {"endpoints": [each]} for name, each in (("main", first), ("shadow", second))},
        "routes": [
            {"name": "mirrored", "match": {"model": "simple"}, "to": "main", "policies": [*POLICIES, mirror]},
            {"name": "rest", "match": {"model": "*"}, "to": "main", "policies": POLICIES},
        ],
    }
    with Gateway([first], settings=settings) as running:
        yield running


Ask = Callable[..., Any]


@pytest.fixture(params=["json", "binary", "grpc"])
def ask(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Asks `simple`, or another model of two inputs, over one of the protocols; the answer's OUTPUT0."""
    module = triton_grpc if request.param == "grpc" else triton_http
    binary = {} if request.param == "grpc" else {"binary_data": request.param == "binary"}
    with module.InferenceServerClient(gateway.address) as client:

        def infer(
            left: np.ndarray[Any, Any],
            right: np.ndarray[Any, Any],
            datatype: str = "INT32",
            model: str = "simple",
            names: tuple[str, ...] = ("INPUT0", "INPUT1"),
            outputs: tuple[str, ...] = (),
        ) -> Any:
            tensors = []
            for name, values in zip(names, (left, right), strict=False):
                tensor = module.InferInput(name, list(values.shape), datatype)
                tensor.set_data_from_numpy(values, **binary)
                tensors.append(tensor)
            wanted = [module.InferRequestedOutput(name) for name in outputs] or None
            return client.infer(model, tensors, outputs=wanted).as_numpy("OUTPUT0")

        yield infer


def ints(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.int32)


def refused(ask: Ask, *arguments: Any, **more: Any) -> str:
    with pytest.raises(InferenceServerException) as caught:
        ask(*arguments, **more)
    return str(caught.value.message())


class TestValidate:
    def test_what_fits(self, ask: Ask) -> None:
        assert ask(ints(2, 16), ints(2, 16)).tolist() == [[2] * 16] * 2
        text = np.full((1, 16), b"20", np.object_)
        assert ask(text, text, "BYTES", "simple_string").tolist() == [[b"40"] * 16]

    def test_what_does_not(self, ask: Ask) -> None:
        shape = "inputs[1].shape: expected [-1,16] for 'INPUT1', got [1,15]"
        assert refused(ask, ints(1, 16), ints(1, 15)) == shape
        floats = np.ones((1, 16), np.float32)
        datatype = "inputs[0].datatype: expected INT32 for 'INPUT0', got 'FP32'"
        assert refused(ask, floats, floats, "FP32") == datatype
        unknown = "inputs[1].name: expected one of INPUT0, INPUT1, got 'X'"
        assert refused(ask, ints(1, 16), ints(1, 16), names=("INPUT0", "X")) == unknown
        missing = "inputs: expected 'INPUT1' too, which the model needs"
        assert refused(ask, ints(1, 16), ints(1, 16), names=("INPUT0",)) == missing
        batches = "inputs: expected one batch size for all, got 1 ('INPUT0') and 2 ('INPUT1')"
        assert refused(ask, ints(1, 16), ints(2, 16)) == batches
        output = "outputs[0].name: expected one of OUTPUT0, OUTPUT1, got 'Y'"
        assert refused(ask, ints(1, 16), ints(1, 16), outputs=("Y",)) == output

    def test_a_stream(self, gateway: Gateway) -> None:
        answers: list[Any] = []
        with triton_grpc.InferenceServerClient(gateway.address) as client:
            client.start_stream(lambda result, error: answers.append(error or result.as_numpy("OUT")[0]))
            for values in (np.array([7], np.int32), np.array([7], np.int64)):
                tensors = []
                for name, datatype, given in (
                    ("IN", "INT32" if values.dtype == np.int32 else "INT64", values),
                    ("DELAY", "UINT32", np.array([0], np.uint32)),
                    ("WAIT", "UINT32", np.array([0], np.uint32)),
                ):
                    tensor = triton_grpc.InferInput(name, [1], datatype)
                    tensor.set_data_from_numpy(given)
                    tensors.append(tensor)
                client.async_stream_infer("repeat_int32", tensors)
            client.stop_stream()
        assert answers[0] == 7
        assert str(answers[1]) == "inputs[0].datatype: expected INT32 for 'IN', got 'INT64'"


def test_bounds(ask: Ask) -> None:
    assert ask(ints(4, 16), ints(4, 16)).shape == (4, 16)
    bound = "inputs[0].shape[0]: expected at most 4 for 'INPUT0' on this route, got 5"
    assert refused(ask, ints(5, 16), ints(5, 16)) == bound


def test_headers(gateway: Gateway) -> None:
    document = {
        "inputs": [
            {"name": name, "datatype": "INT32", "shape": [1, 16], "data": [1] * 16} for name in ("INPUT0", "INPUT1")
        ]
    }
    answer = rest(gateway.address, "POST", "/v2/models/simple/infer", json.dumps(document).encode())
    assert (answer.status, answer.headers["x-served-by"]) == (200, "mirrored")


def test_a_mirror(gateway: Gateway, tritons: list[Triton], ask: Ask) -> None:
    def executed(triton: Triton) -> int:
        with triton_grpc.InferenceServerClient(triton.grpc_address) as client:
            (stats,) = client.get_inference_statistics("simple").model_stats
            return int(stats.inference_stats.success.count)

    before = [executed(triton) for triton in tritons]
    for _ in range(20):
        assert ask(ints(1, 16), ints(1, 16)).tolist() == [[2] * 16]
    until(lambda: [executed(triton) for triton in tritons] == [count + 20 for count in before])
    until(lambda: mirrored(gateway).get("ok", 0) >= 20)
    assert set(mirrored(gateway)) <= {"ok", "refused"}


def mirrored(gateway: Gateway) -> dict[str, float]:
    """What became of the copies, by the metrics page."""
    page = gateway.admin("/metrics")[1]
    found = re.findall(r'^penstock_mirrored_total\{.*outcome="(\w+)".*\} ([0-9.]+)$', page, re.MULTILINE)
    return {outcome: float(count) for outcome, count in found}
