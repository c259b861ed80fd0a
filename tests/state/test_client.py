"""The client against a real valkey, well and in every kind of trouble: what is asked while it is away costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from state import StateError
from state.client import Client
from state.resp import Refusal
from state.settings import Settings
from tests.support.deadline import eventually
from tests.support.stores import Between, CountingMeter, a_client, at
from tests.support.valkey import Valkey

QUICK = 0.05
"""Seconds: more than any answer of a client that does not wait takes."""


def test_does_what_it_is_told(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            assert state.up
            assert state.key("limit", "a") == "penstock:limit:a"
            assert await state.do("SET", state.key("k"), "ü", "EX", 100) == b"OK"
            assert await state.do("GET", state.key("k")) == "ü".encode()
            assert await state.do("GET", "nothing") is None
            assert await state.do("INCRBY", "n", 5) == 5
            assert await state.do("MGET", "n", "nothing") == [b"5", None]

    asyncio.run(run())


def test_the_commands_of_one_turn_leave_together(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            assert isinstance(state, Client)
            assert state._pipe is not None
            sent: list[int] = []
            send = state._pipe.send
            state._pipe.send = lambda batch: (sent.append(len(batch.commands)), send(batch))[1]  # type: ignore[method-assign]
            answers = await asyncio.gather(*(state.do("INCR", "n") for _ in range(50)))
            assert answers == list(range(1, 51))
            assert sent == [50]

    asyncio.run(run())


def test_a_refusal_is_of_one_command_only(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey), meter := CountingMeter()) as state:
            await state.do("SET", "text", "x")
            bad, good = await asyncio.gather(state.do("INCR", "text"), state.do("GET", "text"), return_exceptions=True)
            assert isinstance(bad, StateError)
            assert bad.reason == "refused"
            assert good == b"x"
            assert state.up
            assert meter.count("refused") == 1

    asyncio.run(run())


def test_a_script_travels_once(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            script = state.script("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
            assert await script(["n"], [2]) == 2
            assert await script(["n"], [3]) == 5
            await state.do("SCRIPT", "FLUSH")
            assert await script(["n"], [4]) == 9
            with pytest.raises(Refusal, match=r"(?i)unknown"):
                await state.script("bad", "return redis.call('NONSENSE')")([])

    asyncio.run(run())


def test_messages_come_and_come_back(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            told: list[bytes] = []
            off = state.on_message("news", told.append)
            await eventually(lambda: told == [b""])
            await state.do("PUBLISH", state.key("news"), "one")
            await eventually(lambda: told == [b"", b"one"])
            valkey.restart()
            await eventually(lambda: told == [b"", b"one", b""] and state.up)
            await state.do("PUBLISH", state.key("news"), "two")
            await eventually(lambda: told[-1] == b"two")
            off()
            await state.do("PUBLISH", state.key("news"), "three")
            await asyncio.sleep(QUICK)
            assert told[-1] == b"two"

    asyncio.run(run())


async def costs(state: Any, commands: int = 20) -> float:
    """The longest that a command took that failed, in seconds."""
    worst = 0.0
    for _ in range(commands):
        began = time.perf_counter()
        with pytest.raises(StateError):
            await state.do("GET", "k")
        worst = max(worst, time.perf_counter() - began)
    return worst


def test_stopped_it_costs_one_timeout_and_then_nothing(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            valkey.pause()
            began = time.perf_counter()
            answers = await asyncio.gather(*(state.do("GET", "k") for _ in range(30)), return_exceptions=True)
            assert 0.05 < time.perf_counter() - began < 0.5
            assert {type(each) for each in answers} == {StateError}
            assert {each.reason for each in answers if isinstance(each, StateError)} == {"timeout"}
            assert not state.up
            assert await costs(state) < QUICK
            await asyncio.sleep(1.3)  # its connection is given up, and others are tried
            assert await costs(state) < QUICK
            valkey.resume()
            await eventually(lambda: state.up)
            assert await state.do("PING") == b"PONG"

    asyncio.run(run())


def test_idle_it_is_found_to_be_away_before_a_request_is(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            valkey.pause()
            await eventually(lambda: not state.up)
            assert await costs(state) < QUICK
            valkey.resume()
            await eventually(lambda: state.up)

    asyncio.run(run())


def test_killed_and_back(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            valkey.kill()
            assert await costs(state, 1) < 0.3
            await eventually(lambda: not state.up)
            assert await costs(state) < QUICK
            valkey.start()
            await eventually(lambda: state.up)
            assert await state.do("SET", "k", "v") == b"OK"

    asyncio.run(run())


def test_never_there_is_no_error_until_it_is_asked() -> None:
    async def run() -> None:
        async with a_client(Settings(path="/nowhere/s")) as state:
            assert not state.up
            with pytest.raises(StateError, match="cannot reach") as caught:
                await state.do("GET", "k")
            assert caught.value.reason == "down"

    asyncio.run(run())


def test_slow_by_a_second(valkey: Valkey, tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Between(valkey.socket, tmp_path / "between").serving() as between,
            a_client(Settings(path=between.path, timeout=0.1, connect_timeout=3.0)) as state,
        ):
            assert await state.do("SET", "k", "v") == b"OK"
            between.delay = 1.0
            began = time.perf_counter()
            slow = 0
            while time.perf_counter() - began < 2.5:
                asked = time.perf_counter()
                with pytest.raises(StateError):
                    await state.do("GET", "k")
                slow += time.perf_counter() - asked > QUICK
                await asyncio.sleep(0.005)
            assert slow <= 1
            between.delay = 0.0
            await eventually(lambda: state.up)
            assert await state.do("GET", "k") == b"v"

    asyncio.run(run())


def test_a_short_pause_is_over_when_it_is_over(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey, timeout=0.05)) as state:
            valkey.pause()
            await costs(state, 1)
            assert not state.up
            await asyncio.sleep(0.2)
            valkey.resume()
            async with asyncio.timeout(0.5):
                while not state.up:
                    await asyncio.sleep(0.005)

    asyncio.run(run())


async def fill(state: Any) -> None:
    for number in range(500):
        await state.do("SET", f"k{number}", "x" * 20_000)


def test_full_it_says_so_and_goes_on_reading() -> None:
    async def run(valkey: Valkey) -> None:
        async with a_client(at(valkey), meter := CountingMeter()) as state:
            await state.do("SET", "k", "v")
            with pytest.raises(StateError) as caught:
                await fill(state)
            assert caught.value.reason == "full"
            assert meter.count("full") == 1
            assert state.up
            assert await state.do("GET", "k") == b"v"

    with Valkey(maxmemory="3mb", maxmemory_policy="noeviction") as valkey:
        asyncio.run(run(valkey))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 1000, b"*1\r\n" * 1000, b"\x00"])
def test_garbage_is_no_answer(valkey: Valkey, tmp_path: Path, answer: bytes) -> None:
    async def run() -> None:
        async with (
            Between(valkey.socket, tmp_path / "between", lambda data: answer).serving() as between,
            a_client(Settings(path=between.path, timeout=0.1)) as state,
        ):
            assert await state.do("SET", "k", "v") == b"OK"
            between.rude = True
            for _ in range(3):
                with contextlib.suppress(StateError):
                    assert await state.do("GET", "k") != b"v"
            await eventually(lambda: not state.up)
            await asyncio.sleep(0.3)
            assert await costs(state) < QUICK
            between.rude = False
            await eventually(lambda: state.up)
            assert await state.do("GET", "k") == b"v"

    asyncio.run(run())


def test_a_pause_of_our_own_is_not_the_stores_fault(valkey: Valkey) -> None:
    """With uvloop, whose timers run before what arrived is read."""
    import uvloop

    async def run() -> None:
        async with a_client(at(valkey, timeout=0.03)) as state:
            for _ in range(10):
                asked = state.do("PING")
                asyncio.get_running_loop().call_later(0.001, time.sleep, 0.1)
                assert await asked == b"PONG"
            assert state.up

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_a_longer_time_is_given_to_one_command(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey, timeout=0.05)) as state:
            assert await state.do("BLPOP", "nothing", 0.2, timeout=2.0) is None
            with pytest.raises(StateError) as caught:
                await state.do("BLPOP", "nothing", 5, timeout=0.1)
            assert caught.value.reason == "timeout"

    asyncio.run(run())


def test_a_caller_that_went_away_disturbs_nobody(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            await state.do("SET", "k", "v")
            gone = [state.do("INCR", "n") for _ in range(5)]
            kept = state.do("GET", "k")
            for each in gone:
                each.cancel()
            assert await kept == b"v"
            assert await state.do("GET", "n") == b"5"

    asyncio.run(run())


def test_what_waits_when_it_ends_is_told() -> None:
    async def run(valkey: Valkey) -> None:
        async with a_client(at(valkey)) as state:
            waiting = state.do("BLPOP", "nothing", 5, timeout=5.0)
            await asyncio.sleep(0.05)
        with pytest.raises(StateError):
            await waiting

    with Valkey() as valkey:
        asyncio.run(run(valkey))


def test_a_password_is_needed_and_shown_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def run(valkey: Valkey) -> None:
        async with a_client(at(valkey, password=lambda: "canary-6d1f")) as state:
            assert state.up
        async with a_client(at(valkey, password=lambda: "canary-wrong")) as state:
            with pytest.raises(StateError, match="WRONGPASS") as caught:
                await state.do("PING")
            assert "canary" not in str(caught.value)
            assert "canary" not in repr(state.settings)
        async with a_client(at(valkey)) as state:
            with pytest.raises(StateError, match="AUTH"):
                await state.do("PING")

    with Valkey(requirepass="canary-6d1f") as valkey:
        asyncio.run(run(valkey))
    assert "canary" not in caplog.text


def test_a_database_of_its_own(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey, database=3)) as state:
            await state.do("SET", "k", "v")
        async with a_client(at(valkey)) as state:
            assert await state.do("GET", "k") is None

    asyncio.run(run())
