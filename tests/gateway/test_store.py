"""The store of a process: the client that the configuration names now, under one object for good."""

from __future__ import annotations

import asyncio

import pytest

from config.schema import Config
from gateway.store import Store, settings_of
from gateway.telemetry.metrics import Metrics
from state import StateError
from state.settings import PasswordFile, PasswordVariable, Settings, Tls, no_password
from tests.support.configurations import config_with
from tests.support.deadline import eventually
from tests.support.valkey import Valkey


def at(valkey: Valkey | None, **more: str) -> Config:
    if valkey is None:
        return config_with()
    fields = {"url": f"'unix:{valkey.socket}'", "timeout": "200ms", **more}
    return config_with(state="{" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}")


def settings(written: str) -> Settings | None:
    return settings_of(config_with(state=written))


def test_settings_of_a_configuration() -> None:
    assert settings_of(config_with()) is None
    assert settings("none") is None
    assert settings("embedded") is None
    assert settings("unix:/run/s?db=2") == Settings(path="/run/s", database=2)
    assert settings("redis://gate@a:1/3") == Settings(addresses=(("a", 1),), user="gate", database=3)
    assert settings("{url: rediss+cluster://a, prefix: p, ca: c, timeout: 5ms}") == Settings(
        "cluster", addresses=(("a", 6379),), tls=Tls("c"), prefix="p", timeout=0.005
    )
    assert settings("redis+sentinel://a/s") == Settings("sentinel", addresses=(("a", 26379),), service="s")


def test_passwords_are_ways_to_find_them() -> None:
    for written, expected in (
        ("{url: redis://a, password_file: f}", PasswordFile("f")),
        ("{url: redis://a, password_env: E}", PasswordVariable("E")),
        ("redis://a", no_password),
    ):
        found = settings(written)
        assert found is not None
        assert found.password == expected


def test_without_one_it_is_down() -> None:
    async def run() -> None:
        store = Store(Metrics(), "worker 0")
        await store.settled()
        assert not store.up
        assert not store.configured
        assert store.key("a", "b") == "penstock:a:b"
        with pytest.raises(StateError, match="has no state store"):
            await store.do("GET", "k")
        with pytest.raises(StateError, match="has no state store"):
            await store.script("s", "return 1")([])
        store.on_message("c", lambda message: None)()
        store.follow(config_with())
        assert not store.configured
        await store.close()

    asyncio.run(run())


def test_it_follows_the_configuration(valkey: Valkey) -> None:
    async def run() -> None:
        with Valkey() as other:
            store = Store(Metrics(), "worker 0")
            told: list[bytes] = []
            script = store.script("where", "return redis.call('GET', KEYS[1])")
            off = store.on_message("news", told.append)
            for place, name in ((valkey, "first"), (other, "second")):
                place.ask("SET", "where", name)
                store.follow(at(place))
                await store.settled()
                assert await script(["where"]) == name.encode()
                await eventually(lambda: told[-1:] == [b""])
                place.ask("PUBLISH", "penstock:news", name)
                await eventually(lambda: told[-1:] != [b""])
                assert told[-1] == name.encode()
            client = store._client
            store.follow(at(other))
            assert store._client is client
            store.follow(at(other, prefix="mine"))
            await store.settled()
            assert store.key("a") == "mine:a"
            off()
            store.follow(at(None))
            with pytest.raises(StateError):
                await store.do("PING")
            await store.close()

    asyncio.run(run())


def test_it_counts(valkey: Valkey) -> None:
    async def run() -> None:
        metrics = Metrics()
        store = Store(metrics, "worker 3")
        store.follow(at(valkey))
        await store.settled()
        await store.do("SET", "k", "v")
        with pytest.raises(StateError):
            await store.do("INCR", "k")
        values = metrics.snapshot()
        assert values.gauges["penstock_state_up"] == {("worker 3",): 1}
        assert values.counters["penstock_state_commands_total"] == {(): 2}
        assert values.counters["penstock_state_errors_total"] == {("refused",): 1}
        assert sum(values.histograms["penstock_state_seconds"][()][0]) >= 2
        await store.close()

    asyncio.run(run())


def test_a_patient_one_waits_longer(valkey: Valkey) -> None:
    async def run() -> None:
        store = Store(Metrics(), "control", patient=True)
        store.follow(at(valkey, timeout="1ms", connect_timeout="2s"))
        await store.settled()
        assert store._settings is not None
        assert store._settings.timeout == 2.0
        assert await store.do("PING") == b"PONG"
        await store.close()

    asyncio.run(run())
