"""The source of a script travels only when the store says that it has none."""

from __future__ import annotations

import asyncio
from hashlib import sha1
from typing import Any

import pytest

from state.resp import Refusal
from state.scripts import StoredScript


class Store:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []

    async def do(self, *command: Any) -> Any:
        self.asked.append(command)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_known_it_goes_by_its_digest() -> None:
    store = Store(5)
    assert asyncio.run(StoredScript(store.do, "return 5")(["{a}:k", "{a}:l"], [1, "x"])) == 5
    digest = sha1(b"return 5").hexdigest()
    assert store.asked == [("EVALSHA", digest, 2, "{a}:k", "{a}:l", 1, "x")]


def test_unknown_its_source_follows() -> None:
    store = Store(Refusal("NOSCRIPT No matching script."), 5)
    assert asyncio.run(StoredScript(store.do, "return 5")(["k"])) == 5
    assert store.asked[1] == ("EVAL", "return 5", 1, "k")


def test_its_own_errors_are_the_callers() -> None:
    store = Store(Refusal("ERR wrong"))
    with pytest.raises(Refusal, match="wrong"):
        asyncio.run(StoredScript(store.do, "return 5")(["k"]))
    assert len(store.asked) == 1
