"""Control reads keys from a real store and a file, and tells what changes; what is known outlasts the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.control import keys as module
from gateway.control.keys import KeyWatch
from gateway.key_ring import Ring
from gateway.world import KeySet
from state.key_file import entry_of
from state.key_store import KeyStore
from state.keys import KeyRecord
from tests.support.deadline import eventually
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey


def a_record(id: str = "abcdefghijkl", **more: object) -> KeyRecord:
    return KeyRecord(id, b"\x07" * 32, "alice", **more)  # type: ignore[arg-type]


def write(path: Path, *records: KeyRecord) -> None:
    path.with_suffix(".new").write_text(json.dumps({"keys": [entry_of(record) for record in records]}))
    path.with_suffix(".new").replace(path)


class Bench:
    """A watch, and the ring of a worker that it tells."""

    def __init__(self, keys: KeyStore | None, file: str | None = None) -> None:
        self.told: list[KeySet] = []
        self.ring = Ring()
        self.keys = keys
        self.watch = KeyWatch(keys, file, self._publish)

    def _publish(self, keys: KeySet, whole: Callable[[], KeySet]) -> None:
        self.told.append(keys)
        self.ring.take(keys)

    @property
    def store(self) -> KeyStore:
        assert self.keys is not None
        return self.keys


def play(valkey: Valkey, scene: Callable[[Bench], Awaitable[None]], file: str | None = None) -> None:
    async def run() -> None:
        async with a_client(at(valkey, timeout=1.0)) as state:
            bench = Bench(KeyStore(state), file)
            watching = asyncio.get_running_loop().create_task(bench.watch.run())
            await bench.watch.looked()
            await scene(bench)
            watching.cancel()
            await asyncio.wait([watching])

    asyncio.run(run())


def test_first_all_then_what_changes(valkey: Valkey) -> None:
    async def scene(bench: Bench) -> None:
        assert bench.told == [KeySet(True, True)]
        assert bench.ring.known
        await bench.store.add(a_record())
        await eventually(lambda: bench.ring.find("abcdefghijkl") == a_record())
        await bench.store.change("abcdefghijkl", revoked=5.0)
        await eventually(lambda: bench.ring.find("abcdefghijkl") == a_record(revoked=5.0))
        await bench.store.remove("abcdefghijkl")
        await eventually(lambda: bench.ring.find("abcdefghijkl") is None)
        assert bench.told[1:3] == [KeySet(True, True, (a_record(),)), KeySet(False, True, (a_record(revoked=5.0),))]
        assert bench.told[3] == KeySet(False, True, (), ("abcdefghijkl",))
        assert bench.watch.whole() == KeySet(True, True)

    play(valkey, scene)


def test_a_change_whose_message_is_lost_is_seen_all_the_same(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyStore, "on_change", lambda self, told: lambda: None)

    async def scene(bench: Bench) -> None:
        await bench.store.add(a_record())
        await eventually(lambda: bench.ring.find("abcdefghijkl") is not None, 2 * module.POLL)

    play(valkey, scene)


def test_what_is_known_stays_while_the_store_is_away(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(bench: Bench) -> None:
        await bench.store.add(a_record())
        await eventually(lambda: bench.ring.find("abcdefghijkl") is not None)
        valkey.pause()
        await eventually(lambda: "cannot be read" in caplog.text)
        await asyncio.sleep(2 * module.POLL)
        assert bench.ring.find("abcdefghijkl") is not None
        assert caplog.text.count("cannot be read") == 1
        valkey.resume()
        await eventually(lambda: "can be read again" in caplog.text)
        await bench.store.add(a_record("mnopqrstuvwx"))
        await eventually(lambda: bench.ring.find("mnopqrstuvwx") is not None)

    caplog.set_level("INFO")
    play(valkey, scene)


def test_a_store_that_was_never_there_leaves_keys_unknown(valkey: Valkey, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        assert bench.told == [KeySet(True, False, (a_record(),))]
        assert not bench.ring.known
        assert bench.ring.find("abcdefghijkl") is not None
        valkey.start()
        await eventually(lambda: bench.ring.known)

    write(tmp_path / "keys.json", a_record())
    valkey.kill()
    play(valkey, scene, str(tmp_path / "keys.json"))


def test_a_file_is_followed_and_a_broken_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        file = tmp_path / "keys.json"
        write(file, a_record(), a_record("mnopqrstuvwx"))
        bench = Bench(None, str(file))
        await bench.watch.look()
        assert bench.ring.known
        assert set(bench.ring.records) == {"abcdefghijkl", "mnopqrstuvwx"}
        await bench.watch.look()
        assert len(bench.told) == 1
        write(file, a_record(revoked=1.0))
        await bench.watch.look()
        assert bench.told[1] == KeySet(False, True, (a_record(revoked=1.0),), ("mnopqrstuvwx",))
        file.write_text("keys: [")
        await bench.watch.look()
        assert bench.ring.find("abcdefghijkl") is not None
        assert "stay in force" in caplog.text
        file.unlink()
        await bench.watch.look()
        assert bench.ring.find("abcdefghijkl") is not None

    asyncio.run(run())


def test_both_together(valkey: Valkey, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.store.add(a_record(name="of the store"))
        await bench.store.add(a_record("mnopqrstuvwx"))
        await eventually(lambda: len(bench.ring.records) == 2)
        assert bench.ring.records["abcdefghijkl"].name == "of the file"

    write(tmp_path / "keys.json", a_record(name="of the file"))
    play(valkey, scene, str(tmp_path / "keys.json"))
