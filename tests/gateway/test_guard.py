"""Requests that would end a worker."""

from __future__ import annotations

import asyncio

import pytest

from gateway.guard import Guard, classified
from gateway.signatures import Signatures
from routing.pool import Pool
from tests.support.pools import ScriptedChannel, a_call, a_pool, an_endpoint
from transcoding.dialects.oip_messages import message_class
from transcoding.grpc_framing import encode_message
from transcoding.message import InferRequest, RequestedOutput
from transcoding.status import Code, GatewayError


def a_guard() -> tuple[Guard, Pool, ScriptedChannel]:
    """A pool with a model that has a text and a number as outputs."""
    metadata = message_class("ModelMetadataResponse")(name="m")
    metadata.outputs.add(name="TEXT", datatype="BYTES", shape=[1])
    metadata.outputs.add(name="NUMBER", datatype="FP32", shape=[1])
    config = message_class("ModelConfigResponse")()
    channel = ScriptedChannel(*(encode_message((each.SerializeToString(),)) for each in (metadata, config)))
    pool = a_pool([an_endpoint(channel=channel)])
    return Guard(Signatures()), pool, channel


def check(*outputs: RequestedOutput) -> ScriptedChannel:
    async def main() -> ScriptedChannel:
        guard, pool, channel = a_guard()
        names = classified(InferRequest("m", outputs=[*outputs]))
        if names:
            await guard.of(names)(pool, a_call("m", "2"))
        return channel

    return asyncio.run(main())


def test_classification_of_text_is_refused() -> None:
    with pytest.raises(GatewayError, match="classification of 'TEXT' is not possible, its datatype is BYTES") as caught:
        check(RequestedOutput("TEXT", {"classification": 2}))
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["NUMBER", "UNKNOWN"])
def test_of_anything_else_it_is_the_workers_business(name: str) -> None:
    channel = check(RequestedOutput(name, {"classification": 2}))
    assert [call.version for call in channel.calls] == ["2", "2"]


def test_nothing_is_asked_for_other_requests() -> None:
    assert check(RequestedOutput("TEXT"), RequestedOutput("TEXT", {"binary": True})).calls == []


def test_the_version_of_the_client_counts() -> None:
    async def main() -> ScriptedChannel:
        guard, route, channel = a_guard()
        await guard.check_classified(route, "m", "7", ["NUMBER"], None)
        return channel

    assert [call.version for call in asyncio.run(main()).calls] == ["7", "7"]


def test_where_the_call_goes_counts_and_not_where_it_was_to_go() -> None:
    async def main() -> ScriptedChannel:
        guard, pool, channel = a_guard()
        call = a_call("first", "1")
        check = guard.of(["TEXT"])
        call.model, call.version = "m", "2"
        with pytest.raises(GatewayError, match="classification of 'TEXT'"):
            await check(pool, call)
        return channel

    assert [(call.model, call.version) for call in asyncio.run(main()).calls] == [("m", "2")] * 2
