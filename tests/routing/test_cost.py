"""What a call is charged."""

from __future__ import annotations

import pytest

from routing.call import Call
from routing.cost import cost_of
from tests.support.pools import a_call
from transcoding.dialects.oip_grpc import encode_request
from transcoding.grpc_framing import encode_message
from transcoding.message import InferRequest, Parameters, Tensor
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError


def a_request(shape: tuple[int, ...], parameters: Parameters | None = None) -> Call:
    size = 4
    for each in shape:
        size *= each
    request = InferRequest("m", parameters=parameters, inputs=[Tensor("x", "FP32", shape, bytes(size))])
    return Call(BY_NAME["ModelInfer"], "m", "", (encode_message(encode_request(request)),))


def test_requests_are_one_each() -> None:
    assert cost_of("requests")(a_request((8, 2))) == 1


@pytest.mark.parametrize(("shape", "items"), [((8, 2), 8), ((1,), 1), ((0, 2), 1), ((), 1)])
def test_items_are_the_first_dimension(shape: tuple[int, ...], items: int) -> None:
    call = a_request(shape)
    assert cost_of("items")(call) == items
    assert call.infer is not None  # read once


def test_bytes_are_those_of_the_message() -> None:
    call = a_request((100,))
    assert cost_of("bytes")(call) == sum(map(len, call.message)) - 5
    assert cost_of("bytes")(a_call()) >= 1


@pytest.mark.parametrize(
    ("parameters", "tokens"),
    [
        (None, 100),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 1000}, 100),
        ({"max_tokens": -1}, 1),
        ({"max_tokens": True}, 100),
    ],
)
def test_tokens_are_an_estimate_or_less_where_less_is_asked_for(parameters: Parameters | None, tokens: int) -> None:
    assert cost_of("tokens", 100)(a_request((1,), parameters)) == tokens


def test_what_is_no_request_is_the_client_s_mistake() -> None:
    call = Call(BY_NAME["ModelInfer"], "m", "", (encode_message([b"\xff\xff"]),))
    with pytest.raises(GatewayError):
        cost_of("items")(call)
    assert cost_of("items")(Call(BY_NAME["ModelMetadata"], "m", "", (encode_message([b"\xff\xff"]),))) == 1
