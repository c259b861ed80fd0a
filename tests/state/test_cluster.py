"""A real cluster: each key goes where it belongs, also when that changes, and a member that is gone takes no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from state import StateError
from state.cluster import ClusterClient, make
from state.settings import Settings
from tests.support.deadline import eventually
from tests.support.fleet_of_stores import a_cluster
from tests.support.stores import CountingMeter, a_client
from tests.support.valkey import Valkey


@pytest.fixture
def members() -> Iterator[list[Valkey]]:
    with a_cluster() as cluster:
        yield cluster


def of(members: list[Valkey]) -> Settings:
    return Settings("cluster", addresses=(("127.0.0.1", members[0].port),), timeout=0.2)


def test_each_form_has_its_client() -> None:
    async def run() -> None:
        assert isinstance(make(Settings("cluster")), ClusterClient)
        assert not isinstance(make(Settings("sentinel")), ClusterClient)

    asyncio.run(run())


def test_keys_go_where_they_belong(members: list[Valkey]) -> None:
    async def run() -> None:
        async with a_client(of(members), meter := CountingMeter()) as state:
            assert state.up
            await asyncio.gather(*(state.do("SET", f"k{n}", n) for n in range(40)))
            assert await asyncio.gather(*(state.do("GET", f"k{n}") for n in range(40))) == [
                b"%d" % n for n in range(40)
            ]
            assert all(int(member.ask("DBSIZE")[1:]) > 5 for member in members)
            script = state.script("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
            for key in ("a", "b", "c", "d"):
                assert await script([key], [2]) == 2
                assert await script([key], [2]) == 4
            with pytest.raises(StateError, match="CROSSSLOT"):
                await state.do("MGET", "k1", "k2", "k3")
            await eventually(lambda: meter.up.value == 1)

    asyncio.run(run())


def test_messages_are_heard_wherever_they_are_published(members: list[Valkey]) -> None:
    async def run() -> None:
        async with a_client(of(members)) as state:
            told: list[bytes] = []
            state.on_message("news", told.append)
            await eventually(lambda: told == [b""])
            for member in members:
                member.ask("PUBLISH", "penstock:news", "one")
            await eventually(lambda: told == [b"", b"one", b"one"])
            await state.do("PUBLISH", "penstock:news", "two")
            await eventually(lambda: told[-1] == b"two")

    asyncio.run(run())


def test_a_slot_that_moves_is_followed(members: list[Valkey]) -> None:
    async def run() -> None:
        async with a_client(of(members)) as state:
            slot = members[0].ask("CLUSTER", "KEYSLOT", "k1")[1:].strip().decode()
            ids = [member.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode() for member in members]
            source, target = (1, 0) if int(slot) > 8191 else (0, 1)
            members[target].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
            members[source].ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
            assert await state.do("SET", "k1", "asked") == b"OK"
            for member in (members[target], members[source]):
                member.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
            assert await state.do("GET", "k1") == b"asked"
            assert isinstance(state, ClusterClient)
            client = state._slots[int(slot)]
            await eventually(lambda: state._slots[int(slot)] is not client)
            assert await state.do("GET", "k1") == b"asked"

    asyncio.run(run())


def test_a_member_that_is_gone_takes_no_other(members: list[Valkey]) -> None:
    async def run() -> None:
        async with a_client(of(members)) as state:
            keys = [f"k{n}" for n in range(20)]
            await asyncio.gather(*(state.do("SET", key, "v") for key in keys))
            members[1].kill()
            await asyncio.sleep(0.1)
            answers = await asyncio.gather(*(state.do("GET", key) for key in keys), return_exceptions=True)
            assert answers.count(b"v") >= 5
            assert all(isinstance(answer, StateError) for answer in answers if answer != b"v")
            assert state.up

    asyncio.run(run())


def test_no_cluster_at_all() -> None:
    async def run() -> None:
        async with a_client(Settings("cluster", addresses=(("127.0.0.1", 1),), connect_timeout=0.3)) as state:
            assert not state.up
            with pytest.raises(StateError, match="cannot reach the cluster"):
                await state.do("GET", "k")
            with pytest.raises(StateError):
                await state.do("PING")

    asyncio.run(run())
