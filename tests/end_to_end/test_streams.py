"""Policies around streams, and what must not be sent, before real Tritons."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from deploy.triton import Triton
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.rest import rest
from tests.support.triton import own_triton, start_triton

pytestmark = pytest.mark.triton
pb: Any = service_pb2
MODELS = ["repeat_int32", "simple_string"]
PATH = "/v2/models/simple_string/infer"
SPARE = {"kind": "fallback", "to": "spare", "name": "spare"}


@pytest.fixture(scope="module")
def triton() -> Triton:
    return start_triton(MODELS)


def repeat(elements: list[int], delays: list[int], id: str = "r") -> Any:
    request = pb.ModelInferRequest(model_name="repeat_int32", id=id)
    tensors = (("IN", "INT32", elements), ("DELAY", "UINT32", delays), ("WAIT", "UINT32", [0]))
    for name, datatype, numbers in tensors:
        request.inputs.add(name=name, datatype=datatype, shape=[len(numbers)])
        dtype = np.int32 if datatype == "INT32" else np.uint32
        request.raw_input_contents.append(np.array(numbers, dtype).tobytes())
    return request


def ask(gateway: Gateway, *requests: Any) -> Iterator[Any]:
    with grpc.insecure_channel(gateway.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        yield from stub.ModelStreamInfer(iter(requests), timeout=20)


def outs(answers: Iterator[Any]) -> list[int]:
    return [int(np.frombuffer(each.infer_response.raw_output_contents[0], np.int32)[0]) for each in answers]


def generated(gateway: Gateway, elements: list[int], delays: list[int]) -> list[Any]:
    body = json.dumps({"IN": elements, "DELAY": delays, "WAIT": 0}).encode()
    answer = rest(gateway.address, "POST", "/v2/models/repeat_int32/generate_stream", body)
    if answer.status != 200:
        return [answer.json]
    return [json.loads(part.removeprefix(b"data: ")) for part in answer.body.strip().split(b"\n\n")]


def pools(first: list[str], spare: str) -> dict[str, Any]:
    quick = {"readiness": {"interval": 0.2}, "connect_timeout": "0.3s"}
    return {"first": {"endpoints": first, **quick}, "spare": {"endpoints": [spare]}}


def settings(first: list[str], spare: str, *policies: Any) -> dict[str, Any]:
    route = {"name": "all", "match": {"model": "*"}, "to": "first", "policies": list(policies)}
    return {"pools": pools(first, spare), "routes": [route]}


@pytest.mark.parametrize(
    ("limit", "elements", "delays", "heard", "text"),
    [
        ({"first_byte": "300ms"}, [1, 2], [3000, 0], [], "no message of an answer in 0.3 s (timeout.first_byte)"),
        ({"first_byte": "2s", "idle": "300ms"}, [1, 2], [0, 3000], [1], "for 0.3 s (timeout.idle)"),
        ({"total": "600ms"}, [1, 2, 3, 4, 5], [200] * 5, None, "not complete in 0.6 s (timeout.total)"),
    ],
)
def test_time_is_bounded_and_the_work_ends(
    triton: Triton, limit: dict[str, str], elements: list[int], delays: list[int], heard: list[int] | None, text: str
) -> None:
    timeout = {"kind": "timeout", **limit}
    with Gateway([], settings=settings([triton.grpc_address], triton.grpc_address, timeout)) as gateway:
        answers = ask(gateway, repeat(elements, delays))
        got: list[int] = []
        with pytest.raises(grpc.RpcError) as caught:
            got.extend(value for each in answers for value in outs(iter([each])))
        assert (caught.value.code(), text in caught.value.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
        assert heard is None or got == heard
        last = generated(gateway, elements, delays)[-1]
        assert text in last["error"]
        assert outs(ask(gateway, repeat([7], [0]))) == [7]
        with grpc.insecure_channel(triton.grpc_address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            until(lambda: still_running(stub) == 0, 5)


def still_running(stub: Any) -> int:
    question = repeat([0], [0])
    question.parameters["STATE"].int64_param = 1
    (answer,) = stub.ModelStreamInfer(iter([question]), timeout=10)
    return int(np.frombuffer(answer.infer_response.raw_output_contents[1], np.int32)[0])


def test_a_stream_begins_in_another_pool_when_there_is_nobody(triton: Triton) -> None:
    with Gateway([], settings=settings(["127.0.0.1:1"], triton.grpc_address, SPARE)) as gateway:
        assert outs(ask(gateway, repeat([4, 5], [0, 0]))) == [4, 5]
        assert [each["OUT"] for each in generated(gateway, [6, 7], [0, 0])] == [6, 7]


def test_a_triton_that_is_killed_before_the_first_message_costs_no_stream(triton: Triton) -> None:
    retry = {"kind": "retry", "idempotent": True}
    with own_triton(MODELS) as dying:
        first = [dying.grpc_address, triton.grpc_address]
        with (
            Gateway([], workers=1, settings=settings(first, triton.grpc_address, retry)) as gateway,
            grpc.insecure_channel(gateway.address) as channel,
        ):
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            calls = [
                stub.ModelStreamInfer(iter([repeat([number], [1500], str(number))]), timeout=20) for number in range(8)
            ]
            time.sleep(0.5)
            dying.kill()
            assert [outs(call) for call in calls] == [[number] for number in range(8)]


def test_what_kills_a_triton_is_refused_wherever_it_is_sent(triton: Triton) -> None:
    request = pb.ModelInferRequest(model_name="simple_string", id="x")
    for name in ("INPUT0", "INPUT1"):
        request.inputs.add(name=name, datatype="BYTES", shape=[1, 16])
        request.raw_input_contents.append(b"\1\0\0\01" * 16)
    request.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = 1
    with Gateway([], settings=settings(["127.0.0.1:1"], triton.grpc_address, SPARE)) as gateway:
        (answer,) = ask(gateway, request)
        assert answer.error_message
        with grpc.insecure_channel(gateway.address) as channel, pytest.raises(grpc.RpcError):
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
        body = {
            "inputs": [
                {"name": name, "datatype": "BYTES", "shape": [1, 16], "data": ["1"] * 16}
                for name in ("INPUT0", "INPUT1")
            ],
            "outputs": [{"name": "OUTPUT0", "parameters": {"classification": 1}}],
        }
        assert rest(gateway.address, "POST", PATH, json.dumps(body).encode()).status >= 400
        assert triton.running
        assert outs(ask(gateway, repeat([1], [0]))) == [1]
