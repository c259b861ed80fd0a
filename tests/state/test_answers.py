"""Answers in memory hold while their model is loaded as it was, until a purge means them, and within their bytes."""

from __future__ import annotations

from state.answers import ENTRY_BYTES, Answer, Answers, Question
from state.cache_ledger import EVERYTHING, Line, of_model, of_scope


class Fixture:
    def __init__(self, limit: int = 1_000_000) -> None:
        self.changes = [0, 0, 0]
        self.answers = Answers(limit, self._changed)
        self.line = Line("m", {"a:1": 1})

    def _changed(self, *changes: int) -> None:
        self.changes = [sum(each) for each in zip(self.changes, changes, strict=True)]

    def question(self, key: bytes = b"k", scope: str = "acme", model: str = "m", version: str = "1") -> Question:
        question = Question(("tenant", scope), model, version, self.line, None)
        question.key = key
        return question

    def keep(self, question: Question, size: int = 10) -> Answer:
        answer = Answer(question, b"x" * size, 0.0, 60.0, 30.0)
        self.answers.keep(answer)
        return answer


def test_an_answer_holds_until_the_model_is_loaded_again() -> None:
    it = Fixture()
    answer = it.keep(it.question())
    assert it.answers.get(it.question()) is answer
    assert it.answers.get(it.question(b"other")) is None
    it.line.follow({"a:1": 2})
    assert it.answers.get(it.question()) is None
    again = it.keep(it.question())
    assert it.answers.get(it.question()) is again
    assert it.changes == [10 + ENTRY_BYTES, 1, 0]


def test_bytes_are_bounded() -> None:
    it = Fixture(limit=10 * (100 + ENTRY_BYTES))
    for number in range(25):
        it.keep(it.question(b"%d" % number), size=100)
    assert it.changes == [10 * (100 + ENTRY_BYTES), 10, 15]


def test_purges() -> None:
    it = Fixture()
    questions = [
        it.question(b"1"),
        it.question(b"2", scope="other"),
        it.question(b"3", model="n"),
        it.question(b"4", version="2"),
    ]

    def left(subject: str) -> list[bytes]:
        for question in questions:
            it.keep(question)
        it.answers.purge(subject)
        return [question.key for question in questions if it.answers.get(question)]

    assert left(of_scope("tenant", "acme")) == [b"2"]
    assert left(of_model("m")) == [b"3"]
    assert left(of_model("m", "1")) == [b"3", b"4"]
    assert left(of_scope("principal", "acme")) == [b"1", b"2", b"3", b"4"]
    assert left(EVERYTHING) == []
    assert it.changes == [0, 0, 0]


def test_ages() -> None:
    answer = Fixture().keep(Fixture().question())
    assert answer.serves(59.9)
    assert answer.serves(89.9)
    assert not answer.serves(90.0)
    assert answer.serves(5.0, most=5.0)
    assert not answer.serves(5.1, most=5.0)
    assert not answer.serves(61.0, most=100.0), "a client that names an age wants nothing stale"


def test_what_purges_name_is_told_apart() -> None:
    assert of_model("a", "b:c") != of_model("a:b", "c")
    assert of_model("m", "1") != of_model("m")
    assert of_scope("tenant", "x") != of_scope("principal", "x")
