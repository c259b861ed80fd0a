"""The own share of each pool, and the work from which shares are made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from config.schema import Pick
from gateway.build import Builder
from gateway.telemetry.metrics import Metrics
from gateway.world import Place, Places, World
from routing.pool import Pool as RequestPool
from tests.support.channel import a_call
from tests.support.data_plane import a_config


def run(use: Callable[[Builder], Awaitable[None]], metrics: Metrics | None = None) -> None:
    async def main() -> None:
        builder = Builder(metrics or Metrics())
        try:
            async with asyncio.timeout(20):
                await use(builder)
        finally:
            await builder.aclose()

    asyncio.run(main())


def test_work_that_was_sent_is_counted_for_the_pool_also_of_endpoints_that_go() -> None:
    metrics = Metrics()

    async def use(builder: Builder) -> None:
        config = a_config("127.0.0.1:1", "127.0.0.1:2")
        endpoints = builder.build(World(1, config, {})).pools["p"].endpoints
        cell = metrics.counter("penstock_offered_seconds_total", ("p",))
        for endpoint in endpoints:
            endpoint.take(a_call()).release()
        builder.report()
        first = cell.value
        assert first > 0.0
        builder.report()
        assert cell.value == first
        endpoints[1].take(a_call()).release()
        builder.build(World(2, a_config("127.0.0.1:1"), {}))
        builder.report()
        assert cell.value == pytest.approx(1.5 * first)

    run(use, metrics)


def test_each_pool_has_a_place_of_its_own_before_and_after_it_is_there() -> None:
    async def use(builder: Builder) -> None:
        config = a_config(*(f"127.0.0.1:{port}" for port in range(1, 13)))
        more = msgspec.structs.replace(config, pools={"p": config.pools["p"], "q": config.pools["p"]})
        builder.place(Places({"p": Place(1, (1.0, 1.0))}))
        snapshot = builder.build(World(1, more, {}))
        assert sent_to(snapshot.pools["p"]) == 6
        assert sent_to(snapshot.pools["q"]) == 12
        builder.place(Places({"p": Place(0, (1.0, 1.0, 1.0)), "q": Place(0, (1.0, 1.0))}))
        assert sent_to(snapshot.pools["p"]) == 4
        assert sent_to(snapshot.pools["q"]) == 6
        other = msgspec.structs.replace(more.pools["p"], pick=Pick(bound=2.0))
        again = builder.build(World(2, msgspec.structs.replace(more, pools={"p": other}), {}))
        assert sent_to(again.pools["p"]) == 4  # with another picker, too
        builder.place(Places({}))
        assert sent_to(again.pools["p"]) == 12

    run(use)


def sent_to(pool: RequestPool) -> int:
    """At how many endpoints requests end that come one at a time."""
    call, seen = a_call(), set()
    for _ in range(200):
        endpoint = pool.choose(call)
        endpoint.take(call).release()
        seen.add(endpoint.address)
    return len(seen)
