"""What a pool does about models that are loaded nowhere, and endpoints that lack what they should have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from routing.call import Call
from routing.connectors.outcome import NotLoaded, from_status
from routing.pool import MAX_ATTEMPTS, Pool
from tests.support.pools import OK, ScriptedChannel, State, a_call, a_pool, an_endpoint
from transcoding.status import Code, GatewayError

READY = {"m": {"1": "READY"}}


def forward(pool: Pool) -> bytes:
    return bytes(asyncio.run(pool.forward(a_call())).framed)


def test_what_is_known_and_ready_nowhere_can_be_loaded() -> None:
    for models, version, loadable in (
        ({"m": {}}, "", True),
        ({"m": {}}, "1", True),
        ({"m": {"1": "UNAVAILABLE"}}, "1", True),
        ({"m": {"1": "LOADING"}}, "", True),
        ({"m": {"1": "READY", "2": "UNAVAILABLE"}}, "2", False),
        ({"other": {}}, "", False),
    ):
        error = a_pool([an_endpoint("a:1", models)]).why_not("m", version)
        assert isinstance(error, NotLoaded) is loadable, (models, version)


def test_a_pool_waits_for_its_loader_and_hears_why_not() -> None:
    async def run() -> None:
        endpoint = an_endpoint("a:1", {"m": {}})
        pool = a_pool([endpoint])
        asked: list[str] = []

        async def loader(call: Call, error: NotLoaded) -> None:
            asked.append(call.model)
            if len(asked) == 2:
                endpoint.inventory = {"m": {"1": State("READY")}}
                pool.changed()
            if len(asked) == 3:
                raise GatewayError(Code.UNAVAILABLE, "no room")

        with pytest.raises(NotLoaded):
            await pool.forward(a_call())
        pool.loader = loader
        assert (await pool.forward(a_call())).endpoint is endpoint
        assert asked == ["m", "m"]
        endpoint.inventory = {"m": {}}
        pool.changed()
        with pytest.raises(GatewayError, match="no room"):
            await pool.forward(a_call())

    asyncio.run(run())


class TestStaleInventory:
    """A Triton that was started again at the same address does not have what the one before had loaded."""

    NOT_FOUND = from_status(Code.NOT_FOUND, "Request for unknown model: 'm' is not found")

    def test_what_is_loaded_on_demand_is_loaded_again(self) -> None:
        channel = ScriptedChannel(self.NOT_FOUND, OK)
        endpoint = an_endpoint("a:1", READY, channel)
        pool = a_pool([endpoint])
        log: list[str] = []

        async def refresh() -> None:
            await asyncio.sleep(0.01)
            log.append("refreshed")
            endpoint.inventory = {"m": {}}
            pool.changed()

        def stale(name: str, address: str) -> Awaitable[None]:
            log.append(f"stale {name} {address}")
            return asyncio.ensure_future(refresh())

        async def load(call: Call, error: NotLoaded) -> None:
            log.append(f"load {call.model}")
            assert endpoint.in_flight == 0
            endpoint.inventory = {"m": {"1": State("READY")}}
            pool.changed()

        pool.on_stale, pool.loader = stale, load
        assert forward(pool) == OK
        assert log[0] == "stale p a:1"
        assert log[-2:] == ["refreshed", "load m"]

    def test_one_that_is_never_true_is_not_asked_for_ever(self) -> None:
        channel = ScriptedChannel(self.NOT_FOUND)
        pool = a_pool([an_endpoint("a:1", READY, channel)])

        def stale(name: str, address: str) -> Awaitable[None]:
            return asyncio.ensure_future(asyncio.sleep(0))

        async def load(call: Call, error: NotLoaded) -> None:
            raise AssertionError("it is READY")

        pool.on_stale, pool.loader = stale, load
        with pytest.raises(GatewayError, match="is not found"):
            forward(pool)
        assert len(channel.calls) == MAX_ATTEMPTS

    def test_without_a_loader_the_answer_stands(self) -> None:
        channel = ScriptedChannel(self.NOT_FOUND)
        with pytest.raises(GatewayError, match="is not found"):
            forward(a_pool([an_endpoint("a:1", READY, channel)]))
        assert len(channel.calls) == 1
