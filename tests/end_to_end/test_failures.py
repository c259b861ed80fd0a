"""Processes end, by signal or crash, under steady load: what is lost is counted, and it is at most what they held."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.triton import Triton
from tests.support.casualties import apart, back_in_rotation, before_tritons, crash, in_flight, is_live, restart, served
from tests.support.counters import assert_nothing_held, value
from tests.support.gateway import Gateway
from tests.support.gateway_process import roles
from tests.support.load import Events, FreshRest, Load, Request, Rest, SlowRest, SlowUnary, Streams, Unary
from tests.support.messages import messages, stub
from tests.support.rest import rest
from tests.support.sockets import clients_of, unaccepted_clients
from tests.support.triton import own_triton, start_tritons

pytestmark = pytest.mark.triton

MODELS = ("simple", "slow", "repeat_int32", "mock_llm")
PASSED_ON = 0.1
MIX = (Rest, Rest, FreshRest, FreshRest, Unary, Unary, *[SlowRest] * 4, *[SlowUnary] * 4, Events, Streams)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Two workers in front of two Tritons that stay."""
    addresses = [triton.grpc_address for triton in start_tritons(2, MODELS)]
    with Gateway(addresses, workers=2, settings={"drain": {"delay": 1.0, "timeout": 10.0}}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def tritons() -> Iterator[list[Triton]]:
    """Two Tritons that a test may kill, if it starts them again."""
    with own_triton(MODELS) as first, own_triton(MODELS) as second:
        yield [first, second]


def under_load(gateway: Gateway, test: Callable[[Load], Awaitable[None]], sources: Any = MIX) -> Load:
    """Run `test` while all sources ask; at the end each request has its answer, or is in `lost`."""

    async def main() -> Load:
        async with asyncio.timeout(90), Load(gateway.port, sources) as load:
            await load.answers(200)
            assert load.lost == []
            await test(load)
        return load

    return asyncio.run(main())


def grpc_health(gateway: Gateway) -> tuple[int, bool]:
    """What gRPC's health service and Triton's say."""
    with grpc.insecure_channel(gateway.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
        return status, stub(channel).ServerReady(messages.ServerReadyRequest(), timeout=5).ready


def not_ready_anywhere(gateway: Gateway) -> bool:
    assert gateway.admin("/readyz")[0] == 503
    assert rest(gateway.address, "GET", "/v2/health/ready").status == 400
    assert rest(gateway.address, "GET", "/v2/health/live").status == 200
    assert grpc_health(gateway) == (health_pb2.HealthCheckResponse.NOT_SERVING, False)
    return True


def test_sigterm_fails_readiness_first_and_loses_no_request(gateway: Gateway) -> None:
    assert grpc_health(gateway) == (health_pb2.HealthCheckResponse.SERVING, True)
    counts: dict[str, int] = {}

    async def test(load: Load) -> None:
        before = load.answered
        gateway.process.terminate()
        await apart(lambda: not_ready_anywhere(gateway), 0.9)
        await load.answers(20)
        await load.refusals()
        counts["after SIGTERM"] = load.answered - before
        counts["on new connections"] = sum(request.source == "fresh rest" for request in load.requests[before:])

    load = under_load(gateway, test)
    assert gateway.process.wait(10) == 0
    assert load.lost == []
    assert load.refused == len(MIX)
    assert counts["on new connections"] > 0
    print(f"\nSIGTERM: {counts}, {load.summary()}")


def test_kill_9_of_a_worker_loses_what_it_held(gateway: Gateway) -> None:
    victim, survivor = (roles(gateway.process.pid)[f"worker {index}"] for index in (0, 1))
    under_way: list[Request] = []
    held: set[int] = set()

    async def test(load: Load) -> None:
        while not clients_of(victim, gateway.port) or not clients_of(survivor, gateway.port):
            await load.answers(10)
        os.kill(victim, signal.SIGSTOP)
        held.update(clients_of(victim, gateway.port), unaccepted_clients(gateway.port))
        under_way.extend(load.open)
        crash(victim, held)
        await load.answers(300)
        await apart(lambda: roles(gateway.process.pid).get("worker 0", victim) != victim)
        await apart(lambda: gateway.admin("/readyz")[0] == 200)
        newcomer = roles(gateway.process.pid)["worker 0"]
        await apart(lambda: clients_of(newcomer, gateway.port))

    load = under_load(gateway, test)
    assert all(request in under_way for request in load.lost), load.lost
    assert len(load.lost) <= len(held)
    assert {request.connection for request in load.lost} - {0} <= held
    assert value(gateway, "penstock_worker_restarts_total", worker="0") == 1
    assert_nothing_held(gateway)
    print(f"\nkill -9 of a worker: it held {len(held)} connections, {len(load.lost)} lost; {load.summary()}")


def test_kill_9_of_control_changes_nothing_for_clients(gateway: Gateway) -> None:
    before = roles(gateway.process.pid)

    async def test(load: Load) -> None:
        crash(before["control"], set())
        await load.answers(100)
        await apart(lambda: roles(gateway.process.pid).get("control", before["control"]) != before["control"])
        await apart(lambda: gateway.admin("/readyz")[0] == 200)
        await load.answers(100)

    load = under_load(gateway, test)
    assert load.lost == []
    assert {**roles(gateway.process.pid), "control": 0} == {**before, "control": 0}
    assert_nothing_held(gateway)
    print(f"\nkill -9 of control: {load.summary()}")


AT_MODELS = (*[SlowRest] * 4, *[SlowUnary] * 4, Events, Streams, Rest)


def test_kill_9_of_each_triton_in_turn_loses_what_it_executed(tritons: list[Triton]) -> None:
    under_way: list[tuple[list[Request], int]] = []

    async def test(load: Load) -> None:
        for triton in tritons:
            channels = await asyncio.to_thread(clients_of, triton.pid, triton.grpc_port)
            os.kill(triton.pid, signal.SIGSTOP)
            time.sleep(PASSED_ON)  # the load stands still, and the gateway passes on what it has
            under_way.append((list(load.open), in_flight(gateway, triton)))
            crash(triton.pid, channels)
            triton.process.kill()  # the stubs of its models too
            await load.answers(100)
            await apart(lambda triton=triton: not is_live(gateway, triton))
            await asyncio.to_thread(restart, triton)
            await back_in_rotation(gateway, triton)

    with before_tritons(tritons) as gateway:
        load = under_load(gateway, test, AT_MODELS)
        for held, there in under_way:
            lost = [request for request in load.lost if request in held]
            print(f"\nkill -9 of a Triton: {len(held)} under way, {there} of them there, {len(lost)} lost")
            assert len(lost) <= there
        assert all(any(request in held for held, _ in under_way) for request in load.lost), load.lost
        assert_nothing_held(gateway)
        print(load.summary())


def test_a_stopped_triton_leaves_the_rotation_and_returns(tritons: list[Triton]) -> None:
    frozen, other = tritons

    async def test(load: Load) -> None:
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            await apart(lambda: not is_live(gateway, frozen))
            before = await asyncio.to_thread(served, gateway, other)
            await load.answers(100)
            await apart(lambda: served(gateway, other) > before + 50)
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        await back_in_rotation(gateway, frozen)

    with before_tritons(tritons) as gateway:
        load = under_load(gateway, test, AT_MODELS)
        assert load.lost == []
        assert_nothing_held(gateway)
        print(f"\nSIGSTOP of a Triton: {load.summary()}")


def test_tritons_restarted_one_after_the_other_lose_nothing(tritons: list[Triton]) -> None:
    async def test(load: Load) -> None:
        for triton in tritons:
            await asyncio.to_thread(triton.process.stop, 20.0)
            await asyncio.to_thread(restart, triton)
            await back_in_rotation(gateway, triton)

    with before_tritons(tritons) as gateway:
        load = under_load(gateway, test, (*[SlowRest] * 4, *[SlowUnary] * 4, Events, Rest))
        print(f"\nrolling restart of Tritons: {load.summary()}")
        assert load.lost == []
        assert_nothing_held(gateway)
