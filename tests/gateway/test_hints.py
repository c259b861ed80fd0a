"""Stale inventory is read anew at once, once for all who find out, and through the link of the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest

from config.pools import Pick
from gateway.hints import GAP, REMEMBERED, Hints
from tests.support.clock import Clock
from tests.support.data_plane import PlaneThread, a_plane, a_state
from tests.support.deadline import until
from tests.support.model_server import Model, ModelServer, model_server

NOT_READY = "Request for unknown model: 'm' has no available versions"
NOT_FOUND = "Request for unknown model: 'm' is not found"
HAS = {"m": {"1": "READY"}, "many": {"1": "READY"}}
BODY = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [1]}]}


def test_one_hint_for_each_endpoint_and_gap() -> None:
    asked: list[tuple[str, str]] = []
    clock = Clock()

    async def refresh(pool: str, address: str = "") -> None:
        asked.append((pool, address))

    async def main() -> None:
        hints = Hints(refresh, clock)
        for _ in range(100):
            ended = hints.stale("p", "a:1")
            hints.stale("p", "b:1")
        assert asked == []
        await ended
        clock.now += GAP / 2
        hints.stale("p", "a:1")
        hints.stale("q", "a:1")
        clock.now += GAP
        hints.stale("p", "a:1")
        for number in range(REMEMBERED + 10):
            hints.stale("r", str(number))
        assert len(hints._asked) <= REMEMBERED
        await asyncio.sleep(0)

    asyncio.run(main())
    assert [each for each in asked if each[0] != "r"] == [("p", "a:1"), ("p", "b:1"), ("q", "a:1"), ("p", "a:1")]


def infer(plane: PlaneThread) -> int:
    return plane.post("/v2/models/m/infer", BODY).status


def generate(plane: PlaneThread) -> int:
    return plane.post("/v2/models/many/generate_stream", {"INPUT0": [1]}).status


@pytest.mark.parametrize("text", [NOT_READY, NOT_FOUND])
@pytest.mark.parametrize("ask", [infer, generate])
def test_a_request_that_finds_out_goes_elsewhere_and_control_hears_of_it(
    ask: Callable[[PlaneThread], int], text: str
) -> None:
    models = {"m": Model(), "many": Model(decoupled=True)}
    faults = dict.fromkeys(("ModelInfer", "ModelStreamInfer"), (grpc.StatusCode.NOT_FOUND, text))
    stale = ModelServer(models=dict(models), faults=faults)
    with (
        model_server(stale),
        model_server(models=dict(models)) as other,
        a_plane(stale.address, other.address, models=HAS, pick=Pick("round_robin")) as plane,
    ):
        read: list[str] = []

        async def refresh(pool: str) -> None:
            read.append(pool)
            await plane.publish(states={"p": (a_state(stale.address, {}), a_state(other.address, HAS))})

        plane.on_refresh = refresh
        assert [ask(plane) for _ in range(20)] == [200] * 20
        until(lambda: plane.refreshes == [f"p {stale.address}"])
        asked = len(stale.calls)
        assert [ask(plane) for _ in range(20)] == [200] * 20
        assert len(stale.calls) == asked
        assert read == ["p"]


def test_where_nothing_is_known_nothing_is_stale() -> None:
    faults = {"ModelInfer": (grpc.StatusCode.NOT_FOUND, NOT_FOUND)}
    with model_server(ModelServer(faults=faults)) as server, a_plane(server.address) as plane:
        assert infer(plane) == 404
        assert plane.refreshes == []
        assert plane.counted("penstock_upstream_requests_total") == {("p", server.address, "client"): 1}
