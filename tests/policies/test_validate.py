"""Requests are compared with the metadata of the model that they are about to be sent to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from config.routes import PolicySpec
from policies.validate import Policy, Spec
from routing.call import Call, Reply
from routing.pool import Pool
from tests.support.data_plane import a_plane, a_route
from tests.support.model_server import Model, model_server
from tests.support.model_server import request_of as a_request
from tests.support.policies import some_services
from tests.support.pools import OK, a_pool
from transcoding.grpc_framing import encode_message
from transcoding.message import ModelSignature
from transcoding.methods import BY_NAME
from transcoding.status import Code, GatewayError

VALIDATE = PolicySpec("validate", {"unknown": "pass"})


class Models:
    """What is known of models; how often each was asked for."""

    def __init__(self, **models: ModelSignature | GatewayError) -> None:
        self.asked: list[str] = []
        self._models = models

    async def __call__(self, pool: Pool, model: str, version: str, deadline: float | None) -> ModelSignature:
        self.asked.append(model)
        found = self._models[model]
        if isinstance(found, GatewayError):
            raise found
        return found


def a_model(*shape: int) -> ModelSignature:
    return ModelSignature("m", "1", 0, False, {"INPUT0": ("INT32", shape)}, {})


def a_call(message: tuple[Any, ...] | None = None) -> Call:
    payload = encode_message((a_request(numbers=[1, 2, 3]).SerializeToString(),))
    return Call(BY_NAME["ModelInfer"], "m", "", (payload,) if message is None else message)


def ask(models: Models, call: Call | None = None, targets: tuple[str, ...] = ("m",), **options: Any) -> Call:
    pool = a_pool([])

    async def end(call: Call) -> Reply:
        for call.model in targets:
            assert call.prepare is not None
            await call.prepare(pool, call)
        return Reply(OK)

    call = call or a_call()
    asyncio.run(Policy(Spec(**options), some_services(signature=models))(call, end))
    return call


def test_what_fits_passes_and_is_looked_at_once_for_each_target() -> None:
    models = Models(m=a_model(3), n=a_model(-1))
    ask(models, targets=("m", "m", "n"))
    assert models.asked == ["m", "n"]


def test_a_model_that_a_policy_chose_instead_is_the_one_that_counts() -> None:
    with pytest.raises(GatewayError, match=r"inputs\[0\].shape: expected \[4\] for 'INPUT0', got \[3\]"):
        ask(Models(m=a_model(3), n=a_model(4)), targets=("m", "n"))


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.UNAVAILABLE, Code.INTERNAL])
def test_where_nothing_is_known_the_endpoint_is_asked(code: Code) -> None:
    ask(Models(m=GatewayError(code, "nothing is known")))
    with pytest.raises(GatewayError, match="nothing is known"):
        ask(Models(m=GatewayError(code, "nothing is known")), unknown="refuse")


def test_no_answer_in_time_is_the_requests_end() -> None:
    with pytest.raises(GatewayError, match="late"):
        ask(Models(m=GatewayError(Code.DEADLINE_EXCEEDED, "late")))


def test_what_writes_the_message_comes_first() -> None:
    call = a_call(())

    async def write(pool: Pool, call: Call) -> None:
        call.message = a_call().message

    call.prepare = write
    with pytest.raises(GatewayError, match="shape"):
        ask(Models(m=a_model(4)), call)


class TestGateway:
    """Over each protocol, and nothing is sent."""

    MODEL = Model(inputs=[("INPUT0", "INT32", [3])], outputs=[("OUTPUT0", "INT32", [3])])

    def test_each_way_in(self) -> None:
        with model_server(models={"m": self.MODEL}) as server, a_plane(
            server.address, routes=[a_route(policies=(VALIDATE,))]
        ) as plane:  # fmt: skip
            tensor = {"name": "INPUT0", "datatype": "INT32", "shape": [2], "data": [1, 2]}
            wanted = "inputs[0].shape: expected [3] for 'INPUT0', got [2]"
            assert plane.post("/v2/models/m/infer", {"inputs": [tensor]}).error == wanted
            binary = {**tensor, "parameters": {"binary_data_size": 8}}
            del binary["data"]
            head = json.dumps({"inputs": [binary]}).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            assert plane.post("/v2/models/m/infer", head + b"\0" * 8, headers).error == wanted
            stub = plane.stub()
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(a_request(numbers=[1, 2]), timeout=10)
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, wanted)
            (answer,) = stub.ModelStreamInfer(iter([a_request(numbers=[1, 2])]), timeout=10)
            assert answer.error_message == wanted
            assert server.called("ModelInfer") == []
            assert server.called("streamed") == []
            good = {**tensor, "shape": [3], "data": [1, 2, 3]}
            assert plane.post("/v2/models/m/infer", {"inputs": [good]}).status == 200
            assert stub.ModelInfer(a_request(numbers=[1, 2, 3]), timeout=10).model_name == "m"
            request = {"inputs": [good], "outputs": [{"name": "X"}]}
            assert (
                plane.post("/v2/models/m/infer", request).error == "outputs[0].name: expected one of OUTPUT0, got 'X'"
            )
