"""Polls of a real gRPC server that fails in the ways that servers do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from gateway.control.inventory import Poll
from gateway.control.load import Shape
from gateway.control.triton import TritonClient, read_shape
from gateway.world import ModelVersion
from tests.support.index_server import IndexServer

messages: Any = service_pb2
services: Any = service_pb2_grpc


@pytest.fixture
def server() -> Iterator[IndexServer]:
    server = IndexServer()
    server.start()
    yield server
    server.stop()


def poll(address: str, timeout: float = 5.0) -> Poll:
    async def run() -> Poll:
        client = TritonClient(address)
        try:
            return await client.poll(timeout)
        finally:
            await client.close()

    return asyncio.run(run())


def test_reads_states_and_models_never_loaded(server: IndexServer) -> None:
    server.models = [
        ("a", "1", "READY", ""),
        ("a", "2", "UNAVAILABLE", "unloaded"),
        ("never", "", "", ""),
        ("odd", "3", "", ""),
    ]
    assert poll(server.address) == Poll(
        live=True,
        models={
            "a": {"1": ModelVersion("READY"), "2": ModelVersion("UNAVAILABLE", "unloaded")},
            "never": {},
            "odd": {"3": ModelVersion("UNKNOWN")},
        },
        used={("a", "1"): (0, 0, 0, 0)},
    )


def test_a_model_that_no_index_lists_is_ready(server: IndexServer) -> None:
    server.unlisted = [("loaded_by_files", "1")]
    assert poll(server.address).models == {
        "m": {"1": ModelVersion("READY")},
        "loaded_by_files": {"1": ModelVersion("READY")},
    }


def test_a_server_that_says_it_is_not_live(server: IndexServer) -> None:
    server.live = False
    assert poll(server.address) == Poll(live=False, reason="ServerLive: the server says that it is not live", told=True)


def test_a_server_that_fails_the_liveness_call(server: IndexServer) -> None:
    server.live_fault = grpc.StatusCode.UNAVAILABLE
    assert poll(server.address) == Poll(live=False, reason="ServerLive: UNAVAILABLE: told to fail")


def test_a_server_that_is_on_its_way_out(server: IndexServer) -> None:
    server.index_fault = grpc.StatusCode.UNAVAILABLE
    server.words = "Server not ready"
    expected = Poll(live=False, reason="RepositoryIndex: UNAVAILABLE: Server not ready", told=True)
    assert poll(server.address) == expected
    server.live_fault = grpc.StatusCode.UNAVAILABLE
    server.words = "Server exiting"
    expected = Poll(live=False, reason="ServerLive: UNAVAILABLE: Server exiting", told=True)
    assert poll(server.address) == expected


def test_a_server_whose_index_fails_is_live(server: IndexServer) -> None:
    server.index_fault = grpc.StatusCode.INTERNAL
    assert poll(server.address) == Poll(live=True, reason="RepositoryIndex: INTERNAL: told to fail")


def test_a_refused_connection_is_known_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    begun = time.monotonic()
    result = poll(address, timeout=20.0)
    assert time.monotonic() - begun < 5
    assert not result.live
    assert "Connection refused" in result.reason


def test_a_server_that_does_not_answer(server: IndexServer) -> None:
    server.hang.clear()
    assert poll(server.address, timeout=0.2) == Poll(live=False, reason="ServerLive: no answer within 0.2 s")


def test_a_port_that_never_speaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        result = poll(f"127.0.0.1:{sock.getsockname()[1]}", timeout=0.2)
    assert result == Poll(live=False, reason="ServerLive: no answer within 0.2 s")


def test_a_server_that_comes_back_is_seen_by_the_next_poll(server: IndexServer) -> None:
    async def run() -> list[bool]:
        client = TritonClient(server.address)
        seen = [(await client.poll(5.0)).live]
        server.stop()
        seen += [(await client.poll(5.0)).live for _ in range(5)]  # enough to make a channel back off
        server.start(server.address)
        seen.append((await client.poll(5.0)).live)
        await client.close()
        return seen

    assert asyncio.run(run()) == [True, False, False, False, False, False, True]


def test_liveness_alone_asks_for_no_index(server: IndexServer) -> None:
    server.index_fault = grpc.StatusCode.INTERNAL

    async def run(client: TritonClient) -> tuple[Poll, Poll]:
        try:
            up = await client.live(5.0)
            server.stop()
            return up, await client.live(5.0)
        finally:
            await client.close()

    up, down = asyncio.run(run(TritonClient(server.address)))
    assert up == Poll(live=True, renewed=True)
    assert not down.live
    assert "ServerLive" in down.reason


def shape(address: str, model: str) -> Shape | None:
    async def run() -> Shape | None:
        client = TritonClient(address)
        try:
            return await client.shape(model, "1", 5.0)
        finally:
            await client.close()

    return asyncio.run(run())


def test_instances_are_counted_on_each_gpu_and_passive_ones_are_not() -> None:
    config = model_config_pb2.ModelConfig()
    assert read_shape(config) == Shape(1, False)
    config.instance_group.add(count=2, gpus=[0, 1, 2])
    config.instance_group.add(count=3)
    config.instance_group.add(count=7, passive=True)
    config.model_transaction_policy.decoupled = True
    assert read_shape(config) == Shape(9, True)


def test_a_configuration_that_is_not_told_is_none(server: IndexServer) -> None:
    assert shape(server.address, "m") is None


@pytest.mark.triton
def test_the_configuration_of_a_real_triton() -> None:
    triton_support = pytest.importorskip("tests.support.triton")
    triton = triton_support.start_triton(["simple", "repeat_int32"])
    assert shape(triton.grpc_address, "simple") == Shape(1, False)
    assert shape(triton.grpc_address, "repeat_int32") == Shape(1, True)
    assert shape(triton.grpc_address, "none") is None


@pytest.mark.triton
def test_a_real_triton_whose_load_failed_is_live() -> None:
    triton_support = pytest.importorskip("tests.support.triton")
    with triton_support.own_triton(["simple", "badload"], explicit=True) as triton:
        before = poll(triton.grpc_address)
        assert (before.live, before.reason) == (True, "")
        assert before.models is not None
        assert before.models["simple"] == {"1": ModelVersion("READY")}
        assert before.models["badload"] == {}
        with grpc.insecure_channel(triton.grpc_address) as channel:
            stub = services.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError):
                stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name="badload"), timeout=60)
            stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="simple"), timeout=60)
            assert not stub.ServerReady(messages.ServerReadyRequest(), timeout=5).ready  # which is why it is not asked
        after = poll(triton.grpc_address)
        assert after.live
        assert after.models is not None
        assert after.models["badload"]["1"].state == "UNAVAILABLE"
        assert after.models["simple"]["1"].state in ("UNLOADING", "UNAVAILABLE")
        triton.kill()
        assert not poll(triton.grpc_address).live
