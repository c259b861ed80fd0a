"""Requests leave no object behind, however they end: counted in the process of a data plane, which clients share."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.support.data_plane import PlaneThread, a_plane
from tests.support.deadline import until
from tests.support.documents import DOCUMENT, INFER, TEXT
from tests.support.grpc_calls import Status
from tests.support.model_server import ModelServer, echo, model_server, request_of
from tests.support.raw_client import RawClient, post

BATCH, BATCHES = 8, 40
TOLERATED = BATCH * BATCHES // 4
"""Objects more than before: caches of clients and servers grow by some. One for each request is no cache."""


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


def unary(plane: PlaneThread, server: ModelServer) -> Callable[[], None]:
    stub = plane.stub()
    return lambda: [stub.ModelInfer(request_of(numbers=[number]), timeout=10) for number in range(BATCH)].clear()


def stream(plane: PlaneThread, server: ModelServer) -> Callable[[], None]:
    stub = plane.stub()
    requests = [request_of(numbers=[number]) for number in range(BATCH)]
    return lambda: list(stub.ModelStreamInfer(iter(requests), timeout=10)).clear()


def refused(plane: PlaneThread, server: ModelServer) -> Callable[[], None]:
    stub = plane.stub()

    def ask() -> None:
        for number in range(BATCH):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request_of(f"none{number}"), timeout=10)
            assert caught.value.code() is Status.NOT_FOUND

    server.infer = lambda request, context: context.abort(Status.NOT_FOUND, "no such model")
    return ask


def cancelled(plane: PlaneThread, server: ModelServer) -> Callable[[], None]:
    stub = plane.stub()

    def ask() -> None:
        calls = [stub.ModelInfer.future(request_of(), timeout=20) for _ in range(BATCH)]
        until(lambda: len(server.calls) == BATCH)
        for call in calls:
            call.cancel()
        until(lambda: len(server.cancelled) == BATCH)

    server.infer = wait
    return ask


def rest(plane: PlaneThread, server: ModelServer) -> Callable[[], None]:
    documents = [DOCUMENT, DOCUMENT | {"id": "a"}, {"inputs": 7}, {"inputs": []}] * (BATCH // 4)

    def ask() -> None:
        with RawClient(plane.address) as client:
            for document in documents:
                client.send(post(json.dumps(document).encode(), INFER))
                assert client.answer().status in (200, 400)

    return ask


def rest_left(plane: PlaneThread, server: ModelServer) -> Callable[[], None]:
    def ask() -> None:
        clients = [RawClient(plane.address) for _ in range(BATCH)]
        for client in clients:
            client.send(post(TEXT, INFER))
        until(lambda: len(server.calls) == BATCH)
        for client in clients:
            client.reset()
        until(lambda: len(server.cancelled) == BATCH)

    server.infer = wait
    return ask


def wait(request: Any, context: grpc.ServicerContext) -> Any:
    """No answer before the caller is gone."""
    while context.is_active():
        time.sleep(0.002)
    return echo(request)


def blocks(plane: PlaneThread, server: ModelServer) -> int:
    """Blocks of memory that Python holds when all is quiet."""
    plane.wait_idle()
    server.calls.clear()
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize("kind", [unary, stream, refused, cancelled, rest, rest_left])
def test_nothing_is_left(kind: Callable[..., Callable[[], None]], plane: PlaneThread, server: ModelServer) -> None:
    ask = kind(plane, server)
    grown: list[int] = []
    while len(grown) < 6 and min(grown, default=TOLERATED) >= TOLERATED:
        before = blocks(plane, server)
        for _ in range(BATCHES):
            ask()
            server.calls.clear()
            server.cancelled.clear()
        grown.append(blocks(plane, server) - before)
    assert min(grown) < TOLERATED, grown
