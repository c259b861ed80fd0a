"""The second level of a cache: answers in the store, and the word of who gets one that is not there yet.

Both for one question are one step of the store: a script gives the answer or, if there is none, the lease for getting
it to the first that asks. So of many gateways that ask the same at once one goes on, and the others look again soon. A
lease ends by itself, should its holder be gone.

Whoever looks here waits no longer than `timeout` for the store, and not at all while that is known to be away; one that
is full is read, and written to again after `REST` seconds. Keys are `cache:answer:{digest.stamp}` and
`cache:lease:{digest.stamp}`, where the stamp is that of the ledger: answers of an earlier load, or from before a purge,
are not found again and expire.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from state import State, StateError
from state.answers import Answer, Question
from state.cache_entry import Entry, pack, unpack
from state.cache_ledger import Ledger

REST: Final = 1.0
"""Seconds in which nothing is written to a store that said that it is full."""
MOST_WRITES: Final = 128
"""Answers on their way to the store at once; what comes beyond is not kept there."""
FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.05
"""Seconds between two looks for an answer that another gateway gets."""
ASIDE: Final = 64 * 1024
"""Bytes from which a thread compresses and inflates: the loop would stand still for a millisecond and more."""

LOOK = """
local answer = redis.call('GET', KEYS[1])
if answer then return answer end
if ARGV[2] ~= '0' and redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
return 1
"""
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(frozen=True)
class Terms:
    """For how many seconds answers are fresh, by what share that is less at random, and for how many more they are
    stale; bytes of the largest, and from how many they are compressed; how long, in seconds, the store may take and a
    lease lasts at most, 0 for no leases."""

    ttl: float
    stale: float
    jitter: float
    max_reply: int
    compress_from: int
    timeout: float
    lease: float


@dataclass(frozen=True)
class Tools:
    """What the second level is given. `wall` is in seconds since 1970; `count` is told `failed` and `garbage`."""

    clock: Callable[[], float]
    wall: Callable[[], float]
    rng: random.Random
    sleep: Callable[[float], Awaitable[None]]
    spawn: Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]
    count: Callable[[str], None]


class Claim(NamedTuple):
    """The right to put an answer below `name`; `lease` is the word by which others wait for that, "" for none."""

    name: str
    lease: str = ""


class SharedAnswers:
    """Answers by what they answer."""

    def __init__(self, state: State, ledger: Ledger, terms: Terms, tools: Tools) -> None:
        self._state = state
        self._ledger = ledger
        self._terms = terms
        self._tools = tools
        self._full_until = 0.0
        self._writes = 0
        self._me = f"{os.getpid()}-{os.urandom(6).hex()}"
        self._turns = itertools.count()

    async def _name(self, question: Question) -> str | None:
        if not self._state.up:
            return None
        ledger, line, subjects = self._ledger, question.line, question.subjects
        stamp = ledger.stamp(line, subjects) or await ledger.settled_stamp(line, subjects, self._terms.timeout)
        return None if stamp is None else f"{question.key.hex()}.{stamp}"

    async def find(self, question: Question) -> Answer | None:
        """The answer that is there now."""
        name = await self._name(question)
        found = None if name is None else await self._do("GET", self._answer(name), timeout=self._terms.timeout)
        return await self._read(question, found) if isinstance(found, bytes) else None

    async def claim(self, question: Question, until: float | None) -> tuple[Answer | None, Claim | None]:
        """The answer, waited for until the time `until` of the clock while another gateway gets it; else the claim to
        put it there, which is to be given to `put` or `release`, None while the store is of no use."""
        name = await self._name(question)
        if name is None:
            return None, None
        clock, lease = self._tools.clock, self._terms.lease
        token = f"{self._me}-{next(self._turns)}" if lease else ""
        limit = clock() + lease if until is None else min(until, clock() + lease)
        pause = FIRST_PAUSE
        while True:
            found = await self._look(name, token)
            if isinstance(found, bytes):
                return await self._read(question, found), Claim(name)
            if found != 0 or clock() + pause >= limit:
                return None, None if found is None else Claim(name, token if found else "")
            await self._tools.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)

    async def _look(self, name: str, token: str) -> Any:
        """The answer, 1 with the lease, 0 without it, or None."""
        milliseconds = round(1000 * self._terms.lease)
        names = self._answer(name), self._lease(name)
        return await self._do("EVAL", LOOK, 2, *names, token, milliseconds, timeout=self._terms.timeout)

    async def _read(self, question: Question, packed: bytes) -> Answer | None:
        terms, tools = self._terms, self._tools
        if len(packed) < ASIDE:
            entry = unpack(packed, question.key, terms.max_reply)
        else:
            entry = await asyncio.to_thread(unpack, packed, question.key, terms.max_reply)
        if entry is None:
            tools.count("garbage")
            return None
        asked = tools.clock() - max(0.0, tools.wall() - entry.asked)
        return Answer(question, entry.framed, asked, min(entry.fresh, terms.ttl), min(entry.stale, terms.stale))

    def put(self, answer: Answer, claim: Claim) -> None:
        """Keep an answer, beside what the caller does; then end its lease, if it has one."""
        if self._writes >= MOST_WRITES or not self._state.up or self._tools.clock() < self._full_until:
            self.release(claim)
            return
        self._writes += 1
        self._tools.spawn(self._put(answer, claim), "cache: to the store")

    async def _put(self, answer: Answer, claim: Claim) -> None:
        put = None
        try:
            asked = self._tools.wall() - (self._tools.clock() - answer.asked)
            entry = Entry(answer.framed, asked, answer.fresh, answer.stale)
            key, compress_from = answer.question.key, self._terms.compress_from
            if len(answer.framed) < max(ASIDE, compress_from):
                packed = pack(entry, key, compress_from)
            else:
                packed = await asyncio.to_thread(pack, entry, key, compress_from)
            milliseconds = max(1, round(1000 * (answer.fresh + answer.stale)))
            names = self._answer(claim.name), self._lease(claim.name)
            put = await self._do("EVAL", PUT, 2, *names, packed, milliseconds, claim.lease)
        finally:
            self._writes -= 1
            if put is None:
                self.release(claim)

    def release(self, claim: Claim | None) -> None:
        """Give a claim back: who waits for it asks by itself."""
        if claim is not None and claim.lease and self._state.up:
            release = self._do("EVAL", RELEASE, 1, self._lease(claim.name), claim.lease)
            self._tools.spawn(release, "cache: end of a lease")

    async def _do(self, *command: str | bytes | int, timeout: float | None = None) -> Any:
        """What the store says, None if it fails."""
        try:
            return await self._state.do(*command, timeout=timeout)
        except StateError as error:
            if error.reason == "full":
                self._full_until = self._tools.clock() + REST
            self._tools.count("failed")
            return None

    def _answer(self, name: str) -> str:
        return self._state.key("cache", "answer", f"{{{name}}}")

    def _lease(self, name: str) -> str:
        return self._state.key("cache", "lease", f"{{{name}}}")


def new_answer(question: Question, framed: bytes, asked: float, terms: Terms, rng: random.Random) -> Answer:
    """An answer by these terms, which was asked for at this time of the clock."""
    return Answer(question, framed, asked, terms.ttl * (1.0 - terms.jitter * rng.random()), terms.stale)
