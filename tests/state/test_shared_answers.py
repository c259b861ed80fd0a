"""The second level over a real store: found by all, claimed by one, and of no consequence when it misbehaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from state import State
from state.answers import Answer
from state.shared_answers import Claim, SharedAnswers
from tests.support.caches import TERMS, Process
from tests.support.deadline import eventually
from tests.support.stores import Between, a_client, at
from tests.support.valkey import Valkey


class Fleet:
    """Two processes on one store, whose line is known."""

    def __init__(self, state: State, one: Process, other: Process) -> None:
        self.state = state
        self.one, self.other = one, other

    @property
    def first(self) -> SharedAnswers:
        assert self.one.shared is not None
        return self.one.shared

    @property
    def second(self) -> SharedAnswers:
        assert self.other.shared is not None
        return self.other.shared

    async def claim(self, process: Process, until: float | None = None) -> tuple[Answer | None, Claim | None]:
        assert process.shared is not None
        return await process.shared.claim(process.question(process.line()), until)


def with_fleet(valkey: Valkey, scenario: Callable[[Fleet], Awaitable[None]], lease: float = TERMS.lease) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as here, a_client(at(valkey)) as there:
            terms = replace(TERMS, lease=lease)
            fleet = Fleet(here, Process(here, terms), Process(there, terms))
            await fleet.one.settled()
            await fleet.other.settled()
            await scenario(fleet)
            await asyncio.sleep(0.05)

    asyncio.run(run())


def test_what_one_puts_the_other_finds(valkey: Valkey) -> None:
    async def scenario(it: Fleet) -> None:
        nothing, claim = await it.claim(it.one)
        assert nothing is None
        assert claim is not None
        assert claim.lease
        assert await it.second.find(it.other.question(it.other.line())) is None
        it.first.put(it.one.answer(it.one.line(), b"x" * 200_000), claim)
        answer, _ = await it.claim(it.other, time.monotonic() + 5)
        assert answer is not None
        assert answer.framed == b"x" * 200_000
        assert 0 <= time.monotonic() - answer.asked < 5
        found = await it.second.find(it.other.question(it.other.line()))
        assert found is not None
        assert found.framed == answer.framed

    with_fleet(valkey, scenario)


def test_one_claims_and_the_others_wait_for_it(valkey: Valkey) -> None:
    async def scenario(it: Fleet) -> None:
        _, claim = await it.claim(it.one)
        assert claim is not None
        waiting = asyncio.ensure_future(it.claim(it.other))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        it.first.put(it.one.answer(it.one.line()), claim)
        answer, _ = await waiting
        assert answer is not None
        assert answer.framed == b"answer"

    with_fleet(valkey, scenario)


def test_a_claim_that_is_given_back_goes_to_the_next(valkey: Valkey) -> None:
    async def scenario(it: Fleet) -> None:
        _, claim = await it.claim(it.one)
        waiting = asyncio.ensure_future(it.claim(it.other))
        await asyncio.sleep(0.05)
        it.first.release(claim)
        answer, next_claim = await waiting
        assert answer is None
        assert next_claim is not None
        assert next_claim.lease
        it.first.release(claim)  # again: it is another's now
        await asyncio.sleep(0.05)
        none, late = await it.claim(it.one, time.monotonic() + 0.02)
        assert none is None
        assert late is not None
        assert not late.lease

    with_fleet(valkey, scenario)


def test_nobody_waits_past_his_deadline_or_the_lease(valkey: Valkey) -> None:
    async def scenario(it: Fleet) -> None:
        await it.claim(it.one)
        started = time.monotonic()
        assert await it.claim(it.other, started + 0.03) == (None, Claim(*it_name(it)))
        assert time.monotonic() - started < 0.2
        _, claim = await it.claim(it.other)  # the holder is gone
        assert claim is not None
        assert 0.1 < time.monotonic() - started < 2

    def it_name(it: Fleet) -> tuple[str]:
        line = it.other.line()
        return (f"{(b'k' * 32).hex()}.{it.other.stamp(line)}",)

    with_fleet(valkey, scenario, lease=0.3)


def test_without_leases_nobody_waits(valkey: Valkey) -> None:
    async def scenario(it: Fleet) -> None:
        for process in (it.one, it.other):
            answer, claim = await it.claim(process)
            assert answer is None
            assert claim is not None
            assert not claim.lease

    with_fleet(valkey, scenario, lease=0.0)


def test_garbage_and_what_is_of_another_key_is_none(valkey: Valkey) -> None:
    async def scenario(it: Fleet) -> None:
        _, claim = await it.claim(it.one)
        assert claim is not None
        name = it.state.key("cache", "answer", f"{{{claim.name}}}")
        for nonsense in (b"", b"nonsense", b"PSC\x01\0" + b"x" * 100):
            await it.state.do("SET", name, nonsense)
            answer, again = await it.claim(it.other)
            assert answer is None
            assert again is not None, "it may be overwritten"
        assert it.other.counts == ["garbage"] * 3
        it.first.put(it.one.answer(it.one.line(), key=b"z" * 32), claim)
        await asyncio.sleep(0.05)
        assert await it.second.find(it.other.question(it.other.line())) is None

    with_fleet(valkey, scenario)


def test_an_answer_of_another_load_is_not_found(valkey: Valkey) -> None:
    async def scenario(it: Fleet) -> None:
        _, claim = await it.claim(it.one)
        assert claim is not None
        it.first.put(it.one.answer(it.one.line()), claim)
        await asyncio.sleep(0.05)
        line = it.one.line({"a:1": 99})
        await eventually(lambda: it.one.stamp(line) is not None)
        answer, _ = await it.claim(it.one)
        assert answer is None

    with_fleet(valkey, scenario)


def test_age_is_told_by_the_time_of_day_and_never_below_zero(valkey: Valkey) -> None:
    async def run() -> None:
        async with a_client(at(valkey)) as state:
            ahead, behind = Process(state, wall=lambda: 1000.0), Process(state, wall=lambda: 990.0)
            late = Process(state, wall=lambda: 1030.0)
            for process in (ahead, behind, late):
                await process.settled()
            assert ahead.shared is not None
            _, claim = await ahead.shared.claim(ahead.question(ahead.line()), None)
            assert claim is not None
            ahead.shared.put(ahead.answer(ahead.line()), claim)
            await asyncio.sleep(0.1)
            ages = []
            for process in (behind, late):
                assert process.shared is not None
                answer = await process.shared.find(process.question(process.line()))
                assert answer is not None
                ages.append(round(time.monotonic() - answer.asked))
            assert ages == [0, 30]
            ttl = int(valkey.ask("PTTL", state.key("cache", "answer", f"{{{claim.name}}}")).strip(b":\r\n"))
            assert 50_000 < ttl <= 60_000

    asyncio.run(run())


def test_a_full_store_is_read_and_not_written(valkey: Valkey) -> None:
    async def scenario(it: Fleet) -> None:
        _, claim = await it.claim(it.one)
        assert claim is not None
        it.first.put(it.one.answer(it.one.line()), claim)
        await asyncio.sleep(0.05)
        valkey.ask("CONFIG", "SET", "maxmemory", "1")
        answer, _ = await it.claim(it.other)
        assert answer is not None
        assert it.other.shared is not None
        question = it.other.question(it.other.line(), key=b"n" * 32)
        assert await it.other.shared.claim(question, None) == (None, None)
        it.second.put(it.other.answer(it.other.line(), key=b"n" * 32), Claim("n"))
        await asyncio.sleep(0.05)
        assert "failed" in it.other.counts

    with_fleet(valkey, scenario)


def test_a_store_that_stops_or_is_slow_costs_its_timeout_once_and_then_nothing(valkey: Valkey, tmp_path: Path) -> None:
    async def run() -> None:
        async with Between(valkey.socket, tmp_path / "s").serving() as between:
            settings = replace(at(valkey), path=between.path, timeout=0.05)
            async with a_client(settings) as state:
                it = Process(state, replace(TERMS, timeout=0.02))
                await it.settled()
                assert it.shared is not None
                between.delay = 1.0
                slowest, started = 0.0, time.monotonic()
                for number in range(100):
                    asked = time.monotonic()
                    question = it.question(it.line(), key=b"%032d" % number)
                    assert (await it.shared.claim(question, None))[0] is None
                    slowest = max(slowest, time.monotonic() - asked)
                assert slowest < 0.5
                assert time.monotonic() - started < 3
                assert not state.up
                assert it.counts
                between.delay = 0.0

    asyncio.run(run())
