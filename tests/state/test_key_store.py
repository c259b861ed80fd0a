"""Keys in a real store: what changed is told, and nothing is read that did not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from state import State, StateError
from state.key_store import KeyStore, fields_of, record_of
from state.keys import KeyRecord
from tests.support.deadline import eventually
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey


def a_record(id: str = "abcdefghijkl", **more: object) -> KeyRecord:
    return KeyRecord(id, b"\x07" * 32, "alice", **more)  # type: ignore[arg-type]


FULL = a_record(
    name="Alice's ✎", tenant="t", scopes=("a", "b c"), created=1.5, not_before=2.0, expires=3e9, revoked=4.0,
    limits={"per_user": "5/s"}, replaces="mnopqrstuvwx",
)  # fmt: skip


def play(valkey: Valkey, scene: Callable[[KeyStore, State], Awaitable[None]]) -> None:
    async def run() -> None:
        async with a_client(at(valkey, timeout=2.0)) as state:
            await scene(KeyStore(state), state)

    asyncio.run(run())


@pytest.mark.parametrize("record", [a_record(), FULL])
def test_a_record_survives_as_fields(record: KeyRecord) -> None:
    words = [word.encode() for pair in fields_of(record).items() for word in pair]
    assert record_of(record.id, words) == record
    assert record_of(record.id, []) is None


@pytest.mark.parametrize("words", [[b"digest"], [b"digest", b"xx"], [b"\xff", b""], [b"digest", b"00"]])
def test_what_is_no_record_is_garbage(words: list[bytes]) -> None:
    with pytest.raises(StateError, match="the key abc in the store cannot be read"):
        record_of("abc", words)


def test_what_is_kept_is_found(valkey: Valkey) -> None:
    async def scene(keys: KeyStore, state: State) -> None:
        assert await keys.all() == []
        assert await keys.find("abcdefghijkl") is None
        await keys.add(FULL)
        assert await keys.find("abcdefghijkl") == FULL
        with pytest.raises(StateError, match="there is such a key"):
            await keys.add(a_record())
        assert await keys.change("abcdefghijkl", expires=9.0, revoked=8.0)
        found = await keys.find("abcdefghijkl")
        assert found is not None
        assert (found.expires, found.revoked, found.name) == (9.0, 8.0, FULL.name)
        assert not await keys.change("nobodyhasit1", expires=9.0)
        assert await keys.find("nobodyhasit1") is None
        assert await keys.remove("abcdefghijkl")
        assert not await keys.remove("abcdefghijkl")
        assert await keys.all() == []

    play(valkey, scene)


def test_only_what_changed_is_read(valkey: Valkey) -> None:
    async def scene(keys: KeyStore, state: State) -> None:
        for number in range(5):
            await keys.add(a_record(f"abcdefghijk{number}"))
        first = await keys.since("", 0)
        assert first.whole
        assert len(first.records) == 5
        same = await keys.since(first.epoch, first.version)
        assert not same.whole
        assert same.records == same.gone == ()
        await keys.change("abcdefghijk3", revoked=1.0)
        await keys.remove("abcdefghijk1")
        changes = await keys.since(first.epoch, first.version)
        assert not changes.whole
        assert [record.id for record in changes.records] == ["abcdefghijk3"]
        assert changes.gone == ("abcdefghijk1",)
        assert [record.id for record in await keys.all()][-1] == "abcdefghijk3"

    play(valkey, scene)


def test_another_store_makes_all_void(valkey: Valkey) -> None:
    async def scene(keys: KeyStore, state: State) -> None:
        await keys.add(a_record())
        first = await keys.since("", 0)
        await state.do("FLUSHALL")
        emptied = await keys.since(first.epoch, first.version)
        assert emptied.whole
        assert emptied.records == ()
        await keys.add(a_record("mnopqrstuvwx"))
        other = await keys.since(first.epoch, first.version)
        assert other.whole
        assert [record.id for record in other.records] == ["mnopqrstuvwx"]

    play(valkey, scene)


def test_a_change_is_told(valkey: Valkey) -> None:
    async def scene(keys: KeyStore, state: State) -> None:
        told: list[int] = []
        off = keys.on_change(lambda: told.append(1))
        await eventually(lambda: len(told) == 1)
        await keys.add(a_record())
        await eventually(lambda: len(told) == 2)
        await keys.change("abcdefghijkl", revoked=1.0)
        await eventually(lambda: len(told) == 3)
        off()

    play(valkey, scene)


def test_the_names_are_those_of_the_page(valkey: Valkey) -> None:
    async def scene(keys: KeyStore, state: State) -> None:
        await keys.add(a_record())
        names = {name.decode() for name in await state.do("KEYS", "*")}
        assert names == {f"penstock:{{keys}}:{name}" for name in ("key:abcdefghijkl", "index", "version", "epoch")}

    play(valkey, scene)


def test_many_are_read_in_parts(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.key_store.AT_ONCE", 7)

    async def scene(keys: KeyStore, state: State) -> None:
        await asyncio.gather(*(keys.add(a_record(f"abcdefghij{number:02}")) for number in range(30)))
        assert len(await keys.all()) == 30

    play(valkey, scene)
