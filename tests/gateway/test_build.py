"""From configuration and world to a snapshot, with real servers behind the channels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import msgspec
import pytest

from config.schema import Condition, Config, Endpoint, Outliers, Pick, PolicySpec, Pool, Rule, Target
from gateway import build as module
from gateway.build import Builder, take_state
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState, World
from routing.call import Reply
from routing.connectors.grpc_h2 import Channel
from tests.support.channel import a_call
from tests.support.data_plane import a_config, a_route, a_state
from tests.support.deadline import eventually
from tests.support.grpc_backend import grpc_backend
from transcoding.status import GatewayError

READY = {"m": {"1": "READY"}}


def a_world(config: Config, **states: EndpointState) -> World:
    """A fresh copy of the configuration, as it arrives over the link; `p` is the state of each endpoint of pool p.
    Of the others, control has said nothing."""
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=Config)
    pools = {
        name: tuple(msgspec.structs.replace(states[name], address=each.address) for each in pool.endpoints)
        for name, pool in config.pools.items()
        if name in states
    }
    return World(1, copy, pools)


def run(use: Callable[[Builder], Awaitable[None]], metrics: Metrics | None = None) -> None:
    async def main() -> None:
        builder = Builder(metrics or Metrics())
        try:
            async with asyncio.timeout(20):
                await use(builder)
        finally:
            await builder.aclose()

    asyncio.run(main())


def with_pool(config: Config, **changes: Any) -> Config:
    pools = {"p": msgspec.structs.replace(config.pools["p"], **changes)}
    return msgspec.structs.replace(config, pools=pools)


def test_an_equal_configuration_keeps_everything() -> None:
    async def use(builder: Builder) -> None:
        config = a_config("127.0.0.1:1", "127.0.0.1:2")
        first = builder.build(a_world(config))
        second = builder.build(a_world(config, p=a_state("", READY)))
        assert second is first
        assert [endpoint.known for endpoint in second.pools["p"].endpoints] == [True, True]

    run(use)


def test_another_configuration_keeps_what_is_equal_in_it() -> None:
    async def use(builder: Builder) -> None:
        config = a_config("127.0.0.1:1", "127.0.0.1:2")
        before = builder.build(a_world(config)).pools["p"]
        kept = before.endpoints
        readiness = msgspec.structs.replace(config.pools["p"].readiness, interval=9.0)
        for other in (
            with_pool(config, readiness=readiness),
            msgspec.structs.replace(config, routes=(a_route("x"), a_route("*"))),
        ):
            snapshot = builder.build(a_world(other))
            assert snapshot.pools["p"] is before
            assert snapshot.pools["p"].endpoints == kept
        assert [route.name for route in snapshot.routes] == ["x", "*"]

    run(use)


def test_another_picker_keeps_the_endpoints() -> None:
    async def use(builder: Builder) -> None:
        config = a_config("127.0.0.1:1")
        before = builder.build(a_world(config)).pools["p"]
        after = builder.build(a_world(with_pool(config, pick=Pick("round_robin")))).pools["p"]
        assert after is not before
        assert after.endpoints == before.endpoints

    run(use)


def test_another_wiring_makes_new_channels_and_closes_the_old() -> None:
    async def use(builder: Builder) -> None:
        with grpc_backend() as address:
            config = a_config(address)
            (before,) = builder.build(a_world(config)).pools["p"].endpoints
            await eventually(lambda: before.channel.connected)
            (after,) = builder.build(a_world(with_pool(config, connections=2))).pools["p"].endpoints
            assert after is not before
            await eventually(lambda: after.channel.connected and not before.channel.connected)

    run(use)


def test_an_endpoint_that_goes_finishes_its_requests() -> None:
    metrics = Metrics()
    gate = asyncio.Event()

    def read(family: str) -> dict[tuple[str, ...], float]:
        values = metrics.snapshot()
        return values.gauges.get(family) or values.counters.get(family) or {}

    async def use(builder: Builder) -> None:
        loop = asyncio.get_running_loop()

        def slow(message: bytes, context: object) -> bytes:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
            return message

        with grpc_backend(slow) as address, grpc_backend() as other:
            pool = builder.build(a_world(a_config(address))).pools["p"]
            (old,) = pool.endpoints
            running = asyncio.ensure_future(pool.forward(a_call()))
            await eventually(lambda: old.in_flight == 1 and old.channel.connected)
            await asyncio.sleep(0.1)
            builder.build(a_world(a_config(other)))
            builder.report()
            assert read("penstock_endpoint_inflight")[("p", address)] == 1
            assert (await pool.forward(a_call())).payload == b"hello"
            gate.set()
            assert (await running).payload == b"hello"
            await eventually(lambda: not old.channel.connected)
            await eventually(lambda: not builder._retiring)
            builder.report()
            assert read("penstock_endpoint_inflight") == {("p", address): 0, ("p", other): 0}
            assert read("penstock_upstream_connections") == {("p", address): 0, ("p", other): 1}
            assert read("penstock_upstream_requests_total") == {("p", address, "ok"): 1, ("p", other, "ok"): 1}
            (again,) = builder.build(a_world(a_config(address))).pools["p"].endpoints
            assert again is not old
            builder.report()
            assert read("penstock_upstream_requests_total")[("p", address, "ok")] == 1

    run(use, metrics)


def test_an_endpoint_that_goes_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETIREMENT", 0.1)

    async def use(builder: Builder) -> None:
        loop = asyncio.get_running_loop()
        gate = asyncio.Event()

        def slow(message: bytes, context: object) -> bytes:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)
            return message

        with grpc_backend(slow) as address:
            pool = builder.build(a_world(a_config(address))).pools["p"]
            running = asyncio.ensure_future(pool.forward(a_call()))
            await eventually(lambda: pool.endpoints[0].in_flight == 1 and pool.endpoints[0].channel.connected)
            builder.build(a_world(a_config("127.0.0.1:1")))
            with pytest.raises(GatewayError, match=f"endpoint {address} broke off"):
                await running
            gate.set()

    run(use)


def test_a_pool_that_goes_is_forgotten() -> None:
    async def use(builder: Builder) -> None:
        config = a_config("127.0.0.1:1")
        spare = {"q": Pool(endpoints=(Endpoint("127.0.0.1:2"),))}
        snapshot = builder.build(a_world(msgspec.structs.replace(config, pools=config.pools | spare)))
        assert sorted(snapshot.pools) == ["p", "q"]
        assert sorted(builder.build(a_world(config)).pools) == ["p"]
        assert sorted(builder._pools) == ["p"]
        await eventually(lambda: not builder._retiring)

    run(use)


def test_only_a_change_makes_the_pool_forget() -> None:
    async def use(builder: Builder) -> None:
        config = a_config("127.0.0.1:1")
        pool = builder.build(a_world(config, p=a_state("", READY))).pools["p"]
        before = pool.generation
        builder.build(a_world(config, p=a_state("", READY)))
        assert pool.generation == before
        builder.build(a_world(config, p=a_state("", {"m": {"1": "UNAVAILABLE"}})))
        assert pool.generation == before + 1
        assert pool.candidates("m", "") == ()
        builder.build(a_world(config, p=a_state("", READY)))
        assert len(pool.candidates("m", "")) == 1
        builder.build(a_world(config, p=a_state("", READY, live=False)))
        assert pool.candidates("m", "") == ()

    run(use)


def test_a_connection_that_comes_or_goes_is_a_change() -> None:
    async def use(builder: Builder) -> None:
        with grpc_backend() as address:
            config = a_config("127.0.0.1:1", address)
            pool = builder.build(a_world(config)).pools["p"]
            builder.build(a_world(with_pool(config, pick=Pick("round_robin"))))
            pool = builder._pools["p"][1]
            before = pool.generation
            await eventually(lambda: pool.generation > before)
            assert pool.candidates("m", "") == (pool.endpoints[1],)
        await eventually(lambda: len(pool.candidates("m", "")) == 2)

    run(use)


def test_an_endpoint_that_is_live_again_is_connected_to_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried: list[str] = []
    monkeypatch.setattr(Channel, "hurry", lambda channel: hurried.append(channel.address))

    async def use(builder: Builder) -> None:
        config = a_config("127.0.0.1:1")
        for live in (True, True, False, False, True, True):
            builder.build(a_world(config, p=a_state("", READY, live=live)))
        assert hurried == ["127.0.0.1:1"] * 2, "at first and when it is back"

    run(use)


def test_retries_are_counted() -> None:
    metrics = Metrics()

    def full(message: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        return b""

    async def use(builder: Builder) -> None:
        with grpc_backend(full) as one, grpc_backend() as two:
            pool = builder.build(a_world(a_config(one, two, pick=Pick("round_robin")))).pools["p"]
            await eventually(lambda: all(each.channel.connected for each in pool.endpoints))
            for _ in range(4):
                assert (await pool.forward(a_call(route="r"))).payload == b"hello"
        assert metrics.snapshot().counters["penstock_retries_total"] == {("r", "busy"): 2}

    run(use, metrics)


def test_what_is_passed_over_is_reported_and_is_tried_again_when_it_comes_back() -> None:
    metrics = Metrics()
    ejections, ejected = "penstock_ejections_total", "penstock_ejected"

    def fails(message: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.INTERNAL, "boom")
        return b""

    async def use(builder: Builder) -> None:
        with grpc_backend(fails) as one, grpc_backend() as two:
            config = with_pool(a_config(one, two), pick=Pick("round_robin"), outliers=Outliers(consecutive=2))
            pool = builder.build(a_world(config, p=a_state("", READY))).pools["p"]
            await eventually(lambda: all(each.channel.connected for each in pool.endpoints))
            said = [await outcome(pool.forward(a_call())) for _ in range(8)]
            assert said.count("boom") == 2
            builder.report()
            label = ("p", one, "m")
            assert metrics.snapshot().counters[ejections] == metrics.snapshot().gauges[ejected] == {label: 1}
            builder.build(a_world(config, p=a_state("", READY, live=False)))
            builder.build(a_world(config, p=a_state("", READY)))
            assert await outcome(pool.forward(a_call())) == "boom"  # the probe
            builder.build(a_world(with_pool(config, outliers=Outliers(consecutive=9))))
            builder.report()
            assert metrics.snapshot().counters[ejections] == {label: 2}
            assert metrics.snapshot().gauges[ejected] == {label: 0}

    run(use, metrics)


def test_policies_of_a_route_are_around_each_of_its_targets() -> None:
    metrics = Metrics()

    def fails(message: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.INTERNAL, "boom")
        return b""

    async def use(builder: Builder) -> None:
        with grpc_backend(fails) as one, grpc_backend() as two:
            retry = PolicySpec("retry", {"idempotent": True})
            rules = (Rule((Condition(header="x", present=True),), Target("p")),)
            config = a_config(one, two, pick=Pick("round_robin"), routes=[a_route(policies=(retry,), rules=rules)])
            route = builder.build(a_world(config)).routes[0]
            await eventually(lambda: all(each.channel.connected for each in route.table.variants[0].pool.endpoints))
            for variant in route.table.variants:
                for _ in range(2):
                    assert (await variant.handler(a_call(route="r"))).payload == b"hello"
        assert metrics.snapshot().counters["penstock_retries_total"] == {("r", "model"): 2}

    run(use, metrics)


@pytest.mark.parametrize(("when", "serves"), [(["unavailable"], True), (["overloaded"], False)])
def test_a_route_serves_while_a_pool_lives_that_stands_in(when: list[str], serves: bool) -> None:
    async def use(builder: Builder) -> None:
        fallback = PolicySpec("fallback", {"to": {"pool": "q"}, "when": when})
        config = a_config("127.0.0.1:1", routes=[a_route(policies=(fallback,))])
        pools = {**config.pools, "q": Pool(endpoints=(Endpoint("127.0.0.1:2"),))}
        config = msgspec.structs.replace(config, pools=pools)
        dead, alive = a_state("", READY, live=False), a_state("", READY)
        route = builder.build(a_world(config, p=dead, q=alive)).routes[0]
        assert route.serving is serves
        builder.build(a_world(config, p=dead, q=dead))
        assert not route.serving

    run(use)


async def outcome(reply: Awaitable[Reply]) -> str:
    """What an error said, "" for a good answer."""
    try:
        await reply
    except GatewayError as error:
        return error.message
    return ""


def test_before_control_knows_anything_the_connection_decides() -> None:
    async def use(builder: Builder) -> None:
        (endpoint,) = builder.build(a_world(a_config("127.0.0.1:1"))).pools["p"].endpoints
        assert (endpoint.live, endpoint.known) == (True, False)
        assert endpoint.serves("anything", "9")
        assert not take_state(endpoint, None)
        assert take_state(endpoint, EndpointState("127.0.0.1:1", live=False, reason="refused"))
        assert (endpoint.live, endpoint.reason) == (False, "refused")
        assert not take_state(endpoint, EndpointState("127.0.0.1:1", live=False, reason="for another reason"))
        assert endpoint.reason == "for another reason"

    run(use)


def test_the_endpoints_are_those_that_control_tells_not_those_of_the_file() -> None:
    def found(*addresses: str) -> World:
        states = tuple(msgspec.structs.replace(a_state("", READY), address=each) for each in addresses)
        return World(1, a_config("127.0.0.1:1"), {"p": states})

    async def use(builder: Builder) -> None:
        first = builder.build(found("127.0.0.1:2", "127.0.0.1:3"))
        pool = first.pools["p"]
        kept = pool.endpoints[1]
        assert [endpoint.address for endpoint in pool.endpoints] == ["127.0.0.1:2", "127.0.0.1:3"]
        second = builder.build(found("127.0.0.1:3", "127.0.0.1:4"))
        assert second is first
        assert pool.endpoints[0] is kept
        assert [endpoint.address for endpoint in pool.candidates("m", "")] == ["127.0.0.1:3", "127.0.0.1:4"]
        await eventually(lambda: not builder._retiring)
        builder.build(found())
        assert pool.endpoints == ()

    run(use)
