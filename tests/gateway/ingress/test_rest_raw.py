"""A body that is one tensor, written for the model where it goes."""

from __future__ import annotations

import asyncio

import pytest

from gateway.ingress.rest_raw import RawRequest
from gateway.signatures import Signatures
from routing.call import Call
from routing.pool import Pool
from tests.support.pools import ScriptedChannel, a_pool, an_endpoint
from transcoding.dialects.oip_grpc import scan_request
from transcoding.dialects.oip_messages import message_class
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError


def a_pool_with(model: str, tensor: str, datatype: str = "INT32") -> tuple[Pool, ScriptedChannel]:
    metadata = message_class("ModelMetadataResponse")(name=model)
    metadata.inputs.add(name=tensor, datatype=datatype, shape=[-1])
    config = message_class("ModelConfigResponse")()
    channel = ScriptedChannel(*(encode_message((each.SerializeToString(),)) for each in (metadata, config)))
    return a_pool([an_endpoint(channel=channel)], name=model), channel


def a_call(model: str) -> Call:
    return Call(BY_NAME["ModelInfer"], model, "", ())


def test_it_is_written_anew_for_another_model_and_only_then() -> None:
    async def main() -> None:
        (first, asked), (second, _) = a_pool_with("a", "IN"), a_pool_with("b", "OTHER", "FP32")
        raw, call = RawRequest(Signatures(), b"\1\0\0\0\2\0\0\0", {}), a_call("a")
        await raw.prepare(first, call)
        before = call.message
        await raw.prepare(first, call)
        assert call.message is before
        assert len(asked.calls) == 2
        assert raw.infer is not None
        assert [(each.name, each.datatype) for each in raw.infer.inputs] == [("IN", "INT32")]
        call.model = "b"
        await raw.prepare(second, call)
        assert [(each.name, each.datatype) for each in raw.infer.inputs] == [("OTHER", "FP32")]
        assert scan_request(b"".join(call.message)[5:]).model == "b"

    asyncio.run(main())


def test_a_body_that_does_not_fit_is_refused_where_it_is_to_go() -> None:
    async def main() -> None:
        pool, _ = a_pool_with("a", "IN")
        await RawRequest(Signatures(), b"abc", {}).prepare(pool, a_call("a"))

    with pytest.raises(GatewayError):
        asyncio.run(main())
