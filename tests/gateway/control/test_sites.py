"""Unloading under traffic: withdrawn first, unloaded when nobody uses it, done when it is gone."""

from __future__ import annotations

import asyncio

import pytest

from gateway.control.model_client import ModelError
from gateway.control.sites import InUse
from tests.support.deadline import eventually
from tests.support.model_fleet import ModelFleet
from tests.support.model_host import ModelHost


def test_a_model_goes_when_nobody_uses_it() -> None:
    async def run() -> None:
        host = ModelHost("a:1", ["m"])
        host.states["m"] = "READY"
        host.unload_seconds = 0.05
        fleet = ModelFleet(host)
        fleet.in_use["a:1", "m"] = 1
        removing = asyncio.ensure_future(fleet.sites.remove("a:1", "m", 5.0))
        await asyncio.sleep(0.03)
        assert fleet.states()[0].models["m"]["1"].state == "UNLOADING"  # to the workers
        assert host.states["m"] == "READY"
        fleet.in_use.clear()
        await removing
        assert host.states["m"] == "UNAVAILABLE"
        assert fleet.log == [("withdraw", "a:1", "m"), ("restore", "a:1", "m")]
        assert fleet.refreshed == ["a:1"]

    asyncio.run(run())


def test_one_that_does_not_go_is_an_error_and_not_withdrawn_for_ever() -> None:
    async def run() -> None:
        host = ModelHost("a:1", ["m"])
        host.states["m"] = "READY"
        host.unload_seconds = 60.0
        fleet = ModelFleet(host)
        with pytest.raises(ModelError, match=r"not unloaded after 0.1 s"):
            await fleet.sites.remove("a:1", "m", 0.1)
        assert fleet.withdrawn == set()

    asyncio.run(run())


def test_one_that_stays_in_use_stays_unless_it_must_go() -> None:
    async def run() -> None:
        host = ModelHost("a:1", ["m"])
        host.states["m"] = "READY"
        fleet = ModelFleet(host)
        fleet.in_use["a:1", "m"] = 1
        fleet.patience = 0.05
        with pytest.raises(InUse, match="requests for m do not end"):
            await fleet.sites.remove("a:1", "m", 5.0)
        assert (fleet.withdrawn, host.unloads["m"]) == (set(), 0)
        await fleet.sites.remove("a:1", "m", 5.0, in_use=True)
        assert host.states["m"] == "UNAVAILABLE"

    asyncio.run(run())


def test_only_endpoints_that_answer_and_are_known_are_sites() -> None:
    async def run() -> None:
        hosts = [ModelHost("a:1"), ModelHost("b:1")]
        fleet = ModelFleet(*hosts)
        hosts[1].live = False
        assert list(fleet.sites.live()) == ["a:1"]

    asyncio.run(run())


def test_what_is_locked_is_kept_until_it_is_done() -> None:
    async def run() -> None:
        fleet = ModelFleet(ModelHost("a:1"), ModelHost("b:1"))
        first = fleet.sites.client("a:1")
        async with fleet.sites.lock("a:1"):
            await fleet.sites.keep(["b:1"])
            assert fleet.sites.client("a:1") is first
        lock = fleet.sites.lock("a:1")
        await fleet.sites.keep(["b:1"])
        await eventually(lambda: fleet.sites.lock("a:1") is not lock)

    asyncio.run(run())
