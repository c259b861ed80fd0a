"""Lines of answers over a real store: begun together and once by all gateways, ended by a load or a purge, and known to
each process alone while there is no store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from state import State
from state.cache_ledger import EVERYTHING, of_model, of_scope, purge
from tests.support.caches import LOADS, Process
from tests.support.deadline import eventually
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey


def with_processes(valkey: Valkey, scenario: Callable[[State, Process, Process], Awaitable[None]]) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as one, a_client(at(valkey)) as other:
            await scenario(one, Process(one), Process(other))
            await asyncio.sleep(0.05)  # what was begun in the background ends while there is a store

    asyncio.run(run())


def test_two_processes_that_see_the_same_loads_have_one_stamp(valkey: Valkey) -> None:
    async def scenario(state: State, one: Process, other: Process) -> None:
        first, second = await one.settled(), await other.settled()
        assert one.stamp(first) == other.stamp(second)
        assert one.stamp(one.ledger.line("p", "m", "2", LOADS)) is None, "another version is asked for first"

    with_processes(valkey, scenario)


def test_another_load_begins_a_line_for_all_and_only_one(valkey: Valkey) -> None:
    async def scenario(state: State, one: Process, other: Process) -> None:
        first, second = await one.settled(), await other.settled()
        before, marks = one.stamp(first), (first.mark, second.mark)
        await asyncio.sleep(0.05)
        one.line({"a:1": 99, "b:1": 12})
        assert first.mark is not marks[0]
        assert one.stamp(first) is None, "not before the store knows"
        await eventually(lambda: one.stamp(first) is not None)
        after = one.stamp(first)
        assert after != before
        await eventually(lambda: other.stamp(second) == after)
        assert second.mark is not marks[1], "what it kept of the load before does not hold"
        other.line({"a:1": 99, "b:1": 12})
        await eventually(lambda: other.stamp(second) is not None)
        assert other.stamp(second) == after, "the other sees the same load and begins nothing"

    with_processes(valkey, scenario)


def test_an_endpoint_that_goes_or_comes_back_begins_nothing(valkey: Valkey) -> None:
    async def scenario(state: State, one: Process, other: Process) -> None:
        line = await one.settled()
        await asyncio.sleep(0.05)
        mark, before = line.mark, one.stamp(line)
        one.line({"a:1": 11})
        one.line(LOADS)
        assert line.mark is mark
        assert one.stamp(line) == before

    with_processes(valkey, scenario)


def test_a_process_that_starts_later_meets_what_there_is_or_begins_anew(valkey: Valkey) -> None:
    async def scenario(state: State, one: Process, other: Process) -> None:
        before = one.stamp(await one.settled())
        assert other.stamp(await other.settled()) == before
        late = Process(state)
        line = late.line({"a:1": 11, "b:1": 13})  # it was loaded again while nobody looked
        await eventually(lambda: late.stamp(line) is not None)
        assert late.stamp(line) != before

    with_processes(valkey, scenario)


def test_purges_reach_all_and_what_they_mean_only(valkey: Valkey) -> None:
    async def scenario(state: State, one: Process, other: Process) -> None:
        line = await other.settled()
        mark = other.ledger.mark
        stamps = {other.stamp(line)}
        subjects = [of_scope("tenant", "acme"), of_model("m"), of_model("m", "1"), EVERYTHING]
        for subject in subjects:
            await purge(state, subject)
            await eventually(lambda: other.stamp(line) not in (None, *stamps))
            stamps.add(other.stamp(line))
        assert len(stamps) == 5
        await purge(state, of_scope("tenant", "someone else"))
        await eventually(lambda: len(other.purged) == 5)
        await eventually(lambda: other.stamp(line) is not None)
        assert other.stamp(line) in stamps
        assert other.purged == [*subjects, of_scope("tenant", "someone else")]
        assert other.ledger.mark is not mark

    with_processes(valkey, scenario)


def test_without_a_store_a_process_knows_its_own_loads() -> None:
    it = Process(None)
    line = it.line()
    mark = line.mark
    assert it.stamp(line) is None
    it.line(LOADS)
    assert line.mark is mark
    it.line({"a:1": 12})
    assert line.mark is not mark


def test_a_store_that_is_away_is_asked_again_and_loses_nothing(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            it = Process(state)
            line = await it.settled()
            before = it.stamp(line)
            valkey.kill()
            await eventually(lambda: not state.up)
            it.line({"a:1": 99})
            mark = line.mark
            assert it.stamp(line) is None
            valkey.start()  # with nothing in it
            await eventually(lambda: state.up)
            await eventually(lambda: it.stamp(line) is not None)
            assert it.stamp(line) != before
            assert mark is not None
            await asyncio.sleep(0.05)

    asyncio.run(run())


def test_purges_that_were_missed_are_noticed(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            it = Process(state)
            line = await it.settled()
            before = it.stamp(line)
            valkey.ask("HINCRBY", state.key("cache", "purges"), of_model("m"), "1")  # and the message was lost
            assert it.stamp(line) == before
            it.ledger.heard(b"")
            await eventually(lambda: it.stamp(line) not in (None, before))
            assert it.purged == [EVERYTHING]

    asyncio.run(run())


def test_messages_that_mean_nothing_do_nothing() -> None:
    it = Process(None)
    mark = it.line().mark
    for message in (b"line", b"line x y", b"line 7 unknown", b"\xff\xfe", b"nonsense at all", b"purge", b"purge x y"):
        it.ledger.heard(message)
    assert it.line().mark is mark
    assert it.purged == []


def test_a_ledger_that_nobody_has_hears_no_more(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            it = Process(state)
            await it.settled()
            purged = it.purged
            del it
            await purge(state, EVERYTHING)
            await asyncio.sleep(0.1)
            assert purged == []

    asyncio.run(run())
