"""Watch and reflection begin once the listener's policies let them pass."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from routing.call import Call, Handler, Reply
from tests.support.acting import Badge, act
from tests.support.data_plane import PlaneThread
from tests.support.fronts_guarded import fronts

ANN = [("x-badge", "ann")]
SERVICES = reflection_pb2.ServerReflectionRequest(list_services="")


def reflect(plane: PlaneThread, listener: int, metadata: Any = (), questions: int = 1) -> list[Any]:
    stub = reflection_pb2_grpc.ServerReflectionStub(plane.channel(listener))
    return list(stub.ServerReflectionInfo(iter([SERVICES] * questions), metadata=metadata, timeout=10))


def watch(plane: PlaneThread, listener: int, metadata: Any = ()) -> Any:
    stub = health_pb2_grpc.HealthStub(plane.channel(listener))
    call = stub.Watch(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=10)
    state = next(call)
    call.cancel()
    return state.status


def code(call: Any, *arguments: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    return caught.value.code()  # type: ignore[no-any-return]


def test_reflection(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, badge=Badge())
    with fronts() as (plane, _):
        assert len(reflect(plane, 0)) == 1
        assert code(reflect, plane, 1) is grpc.StatusCode.UNAUTHENTICATED
        assert len(reflect(plane, 1, ANN, questions=12)) == 12
        plane.wait_idle()


def test_watching_health(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, badge=Badge())
    with fronts() as (plane, _):
        assert [watch(plane, 0), watch(plane, 1), watch(plane, 2, ANN)] == [1, 1, 1]
        assert code(watch, plane, 2) is grpc.StatusCode.UNAUTHENTICATED
        plane.wait_idle()


class Slow(Badge):
    async def __call__(self, call: Call, next: Handler, /) -> Reply:
        await asyncio.sleep(0.2)
        return await super().__call__(call, next)


def test_what_comes_meanwhile_waits_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, badge=Slow())
    with fronts() as (plane, _):
        assert len(reflect(plane, 1, ANN, questions=10)) == 10
        assert code(reflect, plane, 1, ANN, 400) is grpc.StatusCode.RESOURCE_EXHAUSTED
        plane.wait_idle()


def test_a_client_that_leaves_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, badge=Slow())
    with fronts() as (plane, _):
        stub = reflection_pb2_grpc.ServerReflectionStub(plane.channel(1))
        call = stub.ServerReflectionInfo(iter([SERVICES]), metadata=ANN, timeout=0.05)
        assert code(lambda: next(call)) is grpc.StatusCode.DEADLINE_EXCEEDED
        plane.wait_idle()
