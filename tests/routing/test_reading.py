"""A call's request as tensors, and sent elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from routing.call import Call
from routing.reading import SMALL, is_written, request_of, retarget
from tests.support.model_server import request_of as a_request
from transcoding.dialects.oip_grpc import scan_request
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError


def a_call(payload: bytes | None = None, pieces: int = 1) -> Call:
    message = encode_message((a_request(numbers=[1, 2]).SerializeToString() if payload is None else payload,))
    size = -(-len(message) // pieces)
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return Call(BY_NAME["ModelInfer"], "m", "", parts)


@pytest.mark.parametrize("pieces", [1, 3])
def test_it_is_read_once(pieces: int) -> None:
    call = a_call(pieces=pieces)
    infer = request_of(call)
    assert [(each.name, each.shape) for each in infer.inputs] == [("INPUT0", (2,))]
    assert request_of(call) is infer is call.infer


def test_large_and_small_ones_are_read_alike() -> None:
    for amount in (2, SMALL):
        call = a_call(a_request(numbers=list(range(amount))).SerializeToString())
        assert bytes(request_of(call).inputs[0].data) == np.arange(amount, dtype=np.int32).tobytes()


def test_what_is_none() -> None:
    with pytest.raises(GatewayError):
        request_of(a_call(b"\xff\xff"))


@pytest.mark.parametrize("pieces", [1, 3])
def test_another_model_and_version(pieces: int) -> None:
    call = a_call(pieces=pieces)
    before = call.message
    retarget(call, "m", "")
    assert call.message is before
    retarget(call, "n", "7")
    envelope = scan_request(b"".join(call.message)[5:])
    assert (envelope.model, envelope.version, call.model, call.version) == ("n", "7", "n", "7")


def test_a_message_that_is_written_later() -> None:
    call = Call(BY_NAME["ModelInfer"], "m", "", ())
    assert not is_written(call)
    retarget(call, "n", "7")
    assert (call.message, call.model, call.version) == ((), "n", "7")
