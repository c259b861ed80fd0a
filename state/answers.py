"""Answers that are kept, what they answer, and the first level of a cache: those in the memory of one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from state.cache_ledger import EVERYTHING, Line, of_model, of_scope
from state.lru import Lru

ENTRY_BYTES = 600
"""What an answer takes in memory beside its bytes."""


class Gauge(Protocol):
    """A number of the metrics."""

    value: float


class Question:
    """What is asked: `key` is the digest of all of it, b"" until that is known; `id` is the client's name of the
    request, and no part of it; `scope` is who shares the answer, as kind and name; `line` is of the model's load then,
    with `mark` its mark, and `purges` the mark of the ledger then."""

    __slots__ = ("id", "key", "line", "mark", "model", "purges", "scope", "version")

    def __init__(self, scope: tuple[str, str], model: str, version: str, line: Line, purges: object) -> None:
        self.key = b""
        self.id = ""
        self.scope = scope
        self.model = model
        self.version = version
        self.line = line
        self.mark = line.mark
        self.purges = purges

    @property
    def flight(self) -> tuple[bytes, object, object]:
        """What it has in common with those that may have one answer with it."""
        return self.key, self.mark, self.purges

    @property
    def subjects(self) -> tuple[str, str, str]:
        """What purges of it name."""
        return of_model(self.model), of_model(self.model, self.version), of_scope(*self.scope)


class Answer:
    """A framed gRPC message without the id of a request. `asked` is the clock's time at which it was asked for; `fresh`
    seconds after that it is old, and `stale` seconds later of no use."""

    __slots__ = ("asked", "framed", "fresh", "question", "stale")

    def __init__(self, question: Question, framed: bytes, asked: float, fresh: float, stale: float) -> None:
        self.question = question
        self.framed = framed
        self.asked = asked
        self.fresh = fresh
        self.stale = stale

    def serves(self, age: float, most: float | None = None) -> bool:
        """Is it of use when it is `age` seconds old, to a client that wants it no older than `most`?"""
        if most is not None and (age > most or age >= self.fresh):
            return False
        return age < self.fresh + self.stale


class Answers:
    """The first level. `changed` is called with the bytes, the answers and the evictions by which it changed."""

    def __init__(self, limit: int, changed: Callable[[int, int, int], None]) -> None:
        self._kept: Lru[bytes, Answer] = Lru(limit)
        self._changed = changed

    def get(self, question: Question) -> Answer | None:
        """The answer to this, of whatever age, unless the model was loaded again since."""
        answer = self._kept.get(question.key)
        return answer if answer is not None and answer.question.mark is question.mark else None

    def keep(self, answer: Answer) -> None:
        """Keep this answer; those that were not used for longest make room."""
        kept = self._kept
        before = kept.bytes, len(kept), kept.evicted
        kept.put(answer.question.key, answer, len(answer.framed) + ENTRY_BYTES)
        self._changed(kept.bytes - before[0], len(kept) - before[1], kept.evicted - before[2])

    def purge(self, subject: str) -> None:
        """Let go of what a purge of this means."""
        kept = self._kept
        before = kept.bytes, len(kept)
        kept.discard_if(lambda answer: subject == EVERYTHING or subject in answer.question.subjects)
        self._changed(kept.bytes - before[0], len(kept) - before[1], 0)
