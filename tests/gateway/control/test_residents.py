"""What endpoints have, since when, and what it takes."""

from __future__ import annotations

import asyncio

import pytest

from gateway.control import residents as module
from gateway.control.model_client import ModelError, Used
from gateway.control.residents import Residents, at
from gateway.control.sites import Index, Sites
from tests.support.deadline import eventually
from tests.support.model_fleet import ModelFleet
from tests.support.model_host import ModelHost


class Bench:
    def __init__(self) -> None:
        self.host = ModelHost("a:1", ["m", "n", "cold"])
        self.fleet = ModelFleet(self.host)
        self.now = 1000.0
        self.bytes: int | None = 100
        self.residents = Residents(
            self.fleet.sites,
            measure=lambda address: self.bytes,
            folder=lambda model: 7,
            clock=lambda: self.now,
            wall=lambda: 5000.0,
        )


def test_what_takes_memory_and_when_it_was_used() -> None:
    async def run() -> None:
        bench = Bench()
        bench.host.states |= {"m": "READY", "n": "UNLOADING"}
        bench.host.used_at["m"] = Used(3, 4990.0)
        bench.fleet.in_use["a:1", "m"] = 2
        bench.residents.pinned = {"n"}
        found = await bench.residents.of("a:1", fresh=True)
        assert found is not None
        assert found.keys() == {"m", "n"}
        assert (found["m"].ready, found["m"].used, found["m"].in_flight, found["m"].pinned) == (True, 990.0, 2, False)
        assert (found["n"].ready, found["n"].used, found["n"].pinned) == (False, 0.0, True)

    asyncio.run(run())


def test_a_word_of_a_moment_ago_is_enough_unless_it_must_be_fresh() -> None:
    async def run() -> None:
        bench = Bench()
        assert await bench.residents.of("a:1", fresh=False) == {}
        bench.host.states["m"] = "READY"
        assert await bench.residents.of("a:1", fresh=False) == {}
        assert await bench.residents.of("a:1", fresh=True) != {}
        bench.host.states["n"] = "READY"
        bench.now += 2 * module.FRESH
        found = await bench.residents.of("a:1", fresh=False)
        assert found is not None
        assert len(found) == 2

    asyncio.run(run())


def test_an_endpoint_that_does_not_say() -> None:
    class Mute(ModelHost):
        async def index(self, timeout: float) -> Index:
            raise ModelError("gone")

    async def run() -> None:
        host = Mute("a:1")
        sites = Sites(ModelFleet(host), lambda address: host)
        assert await Residents(sites).of("a:1", fresh=True) is None

    asyncio.run(run())


def test_a_size_is_what_a_load_added_and_is_measured_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE", 0.02)

    async def run() -> None:
        bench = Bench()
        before = bench.residents.memory("a:1")
        bench.bytes = 150
        bench.residents.loaded("a:1", "m", before)
        assert bench.residents.sizes == {"m": 50}
        bench.bytes = 180
        await eventually(lambda: bench.residents.sizes == {"m": 80})
        bench.residents.loaded("a:1", "n", 180)
        bench.residents.unloaded("a:1", "m")  # what the late figure would say is not about n
        bench.bytes = 400
        await asyncio.sleep(0.05)
        assert bench.residents.sizes == {"m": 80, "n": 0}

    asyncio.run(run())


def test_a_size_is_that_of_the_files_where_nothing_can_be_measured() -> None:
    bench = Bench()
    bench.bytes = None
    bench.residents.loaded("a:1", "m", None)
    assert bench.residents.sizes == {"m": 7}
    unknown = Residents(bench.fleet.sites)
    unknown.loaded("a:1", "m", None)
    assert unknown.sizes == {}


def test_what_all_models_take_is_more_than_what_an_empty_triton_takes() -> None:
    bench = Bench()
    assert bench.residents.taken("a:1", 2) == 0  # it was never seen empty
    assert bench.residents.taken("a:1", 0) == 0
    bench.bytes = 160
    assert bench.residents.taken("a:1", 2) == 60
    bench.bytes = None
    assert bench.residents.taken("a:1", 2) == 0


def test_wall_time_becomes_the_clocks() -> None:
    assert at(Used(1, 4990.0), 1000.0, 5000.0) == 990.0
    assert at(Used(1, 5010.0), 1000.0, 5000.0) == 1000.0  # its clock is ahead
    assert at(Used(0, 0.0), 1000.0, 5000.0) == 0.0
