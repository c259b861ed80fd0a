"""Loads are known again after a restart, unless they are others; and nothing depends on the store."""

from __future__ import annotations

import asyncio

from config.schema import Readiness
from gateway.control.inventory import Inventory, Poll, Record
from gateway.control.load_records import LoadRecords
from gateway.world import ModelVersion
from tests.support.deadline import eventually
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey

ADDRESS = "gpu-0:8001"
KEY = ("m", "1")
READY = {"m": {"1": ModelVersion("READY")}}


def poll(*used: int) -> Poll:
    return Poll(live=True, models=READY, used={KEY: used})


def inventory(load: int, recorded: dict[tuple[str, str], Record] | None = None) -> Inventory:
    made = Inventory(ADDRESS, Readiness(), lambda: load)
    made.remember(recorded or {})
    return made


def load_of(one: Inventory) -> int:
    return one.state.models["m"]["1"].load


def test_what_was_written_is_read_by_the_next(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            records = LoadRecords(state)
            assert await records.read(ADDRESS) == {}
            first = inventory(7)
            first.observe(poll(3, 100))
            records.note(first.state, first.used)
            await eventually(lambda: valkey.ask("HLEN", state.key("cache", "loads", ADDRESS)) == b":1\r\n")
            recorded = await LoadRecords(state).read(ADDRESS)
            assert recorded == {KEY: Record(7, (3, 100))}
            assert await records.read("gpu-1:8001") == {}
            await asyncio.sleep(0.05)

    asyncio.run(run())


def test_use_that_goes_on_is_of_the_same_load() -> None:
    for used, expected in (((3, 100), 7), ((9, 500), 7), ((2, 500), 8), ((9, 50), 8), ((0, 0), 8), ((9, 500, 1), 8)):
        one = inventory(8, {KEY: Record(7, (3, 100))})
        one.observe(poll(*used))
        assert load_of(one) == expected, used
    unused = inventory(8, {KEY: Record(7, (0, 0))})
    unused.observe(poll(5, 100))
    assert load_of(unused) == 8, "what was not used says nothing"
    silent = inventory(8, {KEY: Record(7, (3, 100))})
    silent.observe(Poll(live=True, models=READY))
    assert load_of(silent) == 8


def test_only_the_first_index_is_compared_with_records() -> None:
    one = inventory(8, {KEY: Record(7, (3, 100))})
    one.observe(Poll(live=True, models={"m": {}}))
    one.observe(poll(9, 500))
    assert load_of(one) == 8, "it was loaded while we looked"


def test_a_model_with_a_blank_in_its_name_and_nonsense(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            name = state.key("cache", "loads", ADDRESS)
            for field, value in (("1 a b", "5 6"), ("1", "5 6"), ("1 x", "five"), ("1 y", "5"), ("1 z", "5 -6")):
                valkey.ask("HSET", name, field, value)
            assert await LoadRecords(state).read(ADDRESS) == {("a b", "1"): Record(5, (6,))}

    asyncio.run(run())


def test_a_store_that_is_away_is_not_waited_for_long() -> None:
    class Away:
        up = False

    async def run() -> None:
        records = LoadRecords(Away())  # type: ignore[arg-type]
        started = asyncio.get_running_loop().time()
        assert await records.read(ADDRESS) == {}
        assert asyncio.get_running_loop().time() - started < 3
        one = inventory(7)
        one.observe(poll(1, 1))
        records.note(one.state, one.used)

    asyncio.run(run())
