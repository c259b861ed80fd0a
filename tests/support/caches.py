"""What tests of the cache share: a store's client and the parts of the cache on it, as one process has them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from routing.tasks import spawn
from state import State
from state.answers import Answer, Question
from state.cache_ledger import Ledger, Line
from state.shared_answers import SharedAnswers, Terms, Tools
from tests.support.deadline import eventually

TERMS = Terms(ttl=60.0, stale=0.0, jitter=0.0, max_reply=1_000_000, compress_from=4096, timeout=0.5, lease=5.0)
LOADS = {"a:1": 11, "b:1": 12}
SCOPE = ("tenant", "acme")


class Process:
    """The ledger and the second level of one process; `counts` is what it met, `purged` what it heard of."""

    def __init__(self, state: State | None, terms: Terms = TERMS, wall: Any = time.time) -> None:
        self.counts: list[str] = []
        self.purged: list[str] = []
        self.ledger = Ledger(state, time.monotonic, spawn, self.purged.append)
        tools = Tools(time.monotonic, wall, random.Random(1), asyncio.sleep, spawn, self.counts.append)
        self.shared = None if state is None else SharedAnswers(state, self.ledger, terms, tools)

    def line(self, loads: dict[str, int] | None = None) -> Line:
        return self.ledger.line("p", "m", "1", loads or LOADS)

    async def settled(self, line: Line | None = None) -> Line:
        """The line, once the store has said what there is to say."""
        line = line or self.line()
        await eventually(lambda: self.stamp(line) is not None)
        return line

    def stamp(self, line: Line) -> str | None:
        return self.ledger.stamp(line, self.question(line).subjects)

    def question(self, line: Line, key: bytes = b"k" * 32) -> Question:
        question = Question(SCOPE, "m", "1", line, self.ledger.mark)
        question.key = key
        return question

    def answer(self, line: Line, framed: bytes = b"answer", key: bytes = b"k" * 32) -> Answer:
        return Answer(self.question(line, key), framed, time.monotonic(), 60.0, 0.0)
