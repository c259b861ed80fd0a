"""Loads and unloads at a real Triton, and what is not sent to one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as tritonclient

from deploy.triton import Triton
from gateway.control.model_client import MARK, ModelClient, ModelError, Unreachable, Used, mark_of, marked
from tests.support import triton as triton_support
from tests.support.deadline import until

CONFIG = json.dumps(
    {
        "backend": "python",
        "max_batch_size": 4,
        "input": [{"name": f"INPUT{i}", "data_type": "TYPE_INT32", "dims": [16]} for i in (0, 1)],
        "output": [{"name": f"OUTPUT{i}", "data_type": "TYPE_INT32", "dims": [16]} for i in (0, 1)],
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }
)


def play(address: str, scene: Callable[[ModelClient], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        client = ModelClient(address)
        try:
            async with asyncio.timeout(60):
                await scene(client)
        finally:
            await client.close()

    asyncio.run(run())


def test_an_override_bears_its_mark_and_keeps_its_parameters() -> None:
    config = '{"parameters": {"a": {"string_value": "b"}}, "max_batch_size": 2}'
    fields = json.loads(marked(config))
    assert fields["parameters"] == {"a": {"string_value": "b"}, MARK: {"string_value": mark_of(config)}}
    assert fields["max_batch_size"] == 2
    assert mark_of(None) == "" != mark_of("{}") != mark_of('{"a": 1}')


@pytest.mark.parametrize("config", ["", "{", "[]", '"x"', '{"parameters": []}'])
def test_an_override_that_is_no_object(config: str) -> None:
    with pytest.raises(ModelError, match="its configuration is not"):
        marked(config)


def test_a_triton_that_is_not_there() -> None:
    async def scene(client: ModelClient) -> None:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 does not answer"):
            await client.index(5.0)

    play("127.0.0.1:1", scene)


async def counted(client: ModelClient) -> Used:
    """How `simple` was used, once it was: Triton answers before it counts."""
    async with asyncio.timeout(5.0):
        while not (used := (await client.used(5.0))["simple"]).times:
            await asyncio.sleep(0.01)
    return used


@pytest.mark.triton
def test_load_override_use_and_unload_at_a_real_triton() -> None:
    with triton_support.own_triton(["badload"], explicit=True) as triton:
        triton_support.write_repository(triton.repository, ["simple"])

        async def scene(client: ModelClient) -> None:
            assert (await client.index(5.0))["simple"] == {}
            await client.load("simple", None, 30.0)
            assert (await client.index(5.0))["simple"]["1"].state == "READY"
            assert await client.mark("simple", 5.0) == ""
            await client.load("simple", CONFIG, 30.0)
            assert await client.mark("simple", 5.0) == mark_of(CONFIG)
            await client.load("simple", None, 30.0)
            assert await client.mark("simple", 5.0) == mark_of(CONFIG)  # a plain reload does not undo it
            assert (await client.used(5.0))["simple"] == (0, 0.0)
            before = time.time()
            await asyncio.to_thread(infer, triton)
            used = await counted(client)
            assert used.times == 1
            assert before - 1 <= used.last <= time.time() + 1
            await client.unload("simple", 5.0)
            with pytest.raises(ModelError, match="badload"):
                await client.load("badload", None, 30.0)
            with pytest.raises(ModelError, match="nothing"):
                await client.load("nothing", None, 30.0)
            triton.kill()
            with pytest.raises(Unreachable):
                await client.load("simple", None, 30.0)

        play(triton.grpc_address, scene)


def infer(triton: Triton) -> None:
    inputs = [tritonclient.InferInput(f"INPUT{i}", [1, 16], "INT32") for i in (0, 1)]
    for each in inputs:
        each.set_data_from_numpy(np.ones((1, 16), np.int32))
    with tritonclient.InferenceServerClient(triton.grpc_address) as client:
        until(lambda: client.infer("simple", inputs))
