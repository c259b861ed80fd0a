"""Requests above a bound are refused with what was expected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from policies.bounds import Policy, Spec
from routing.call import Call, Reply
from tests.support.model_server import request_of as a_request
from tests.support.policies import some_services
from tests.support.pools import OK, a_pool
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME
from transcoding.status import Code, GatewayError


def a_call(numbers: int = 3, tensors: int = 1) -> Call:
    request = a_request(numbers=range(numbers))
    for index in range(1, tensors):
        request.inputs.add(name=f"I{index}", datatype="INT32", shape=[numbers])
        request.raw_input_contents.append(request.raw_input_contents[0])
    return Call(BY_NAME["ModelInfer"], "m", "", (encode_message((request.SerializeToString(),)),))


def ask(call: Call, **bounds: Any) -> None:
    async def end(call: Call) -> Reply:
        if call.prepare is not None:
            await call.prepare(a_pool([]), call)
        return Reply(OK)

    asyncio.run(Policy(Spec(**bounds), some_services())(call, end))


def refused(call: Call, **bounds: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(call, **bounds)
    return caught.value


def test_what_is_within() -> None:
    size = sum(map(len, a_call().message))
    ask(a_call(tensors=2), max_bytes=2 * size, max_batch=3, max_elements=6, max_tensors=2)


def test_bytes() -> None:
    size = sum(map(len, a_call().message))
    ask(a_call(), max_bytes=size)
    error = refused(a_call(), max_bytes=size - 1)
    assert (error.code, error.http_status) == (Code.RESOURCE_EXHAUSTED, 413)
    assert error.message == f"the request has {size} bytes, more than the {size - 1} that this route takes"


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"max_batch": 2}, "inputs[0].shape[0]: expected at most 2 for 'INPUT0' on this route, got 3"),
        ({"max_elements": 5}, "inputs: expected at most 5 elements on this route, got 6"),
        ({"max_tensors": 1}, "inputs: expected at most 1 on this route, got 2"),
    ],
)
def test_tensors(bound: dict[str, int], message: str) -> None:
    error = refused(a_call(tensors=2), **bound)
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, message)


def test_bytes_alone_have_nothing_looked_at() -> None:
    call = a_call()
    ask(call, max_bytes=10_000)
    assert call.infer is None


def test_a_message_that_is_written_where_it_goes() -> None:
    written = a_call().message
    order = []

    async def write(pool: object, call: Call) -> None:
        order.append("written")
        call.message = written

    call = Call(BY_NAME["ModelInfer"], "m", "", ())
    call.prepare = write
    assert "at most 2" in refused(call, max_batch=2).message
    assert order == ["written"]
