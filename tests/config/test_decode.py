"""Nodes to types, on types of the tests' own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
import msgspec.inspect as mi
import pytest

from config.decode import HOLE, MAX_PROBLEMS, Decoder
from config.fields import count, one_or_several, several, text
from config.nodes import compose
from config.problems import ConfigError
from config.schema import Node, PoolName


class Inner(Node, frozen=True):
    shorthand: ClassVar[str | None] = "name"

    name: Annotated[str, text("")]
    many: Annotated[int, count("", 1, 9)] = 3


class Outer(Node, frozen=True):
    needed: Annotated[int, count("", 1, 9)]
    inner: Inner | None = None
    items: Annotated[tuple[Inner, ...], several("")] = ()
    words: Annotated[tuple[Annotated[str, text("")], ...], one_or_several("")] = ()
    named: Annotated[dict[PoolName, Inner], several("")] = msgspec.field(default_factory=dict)


def decode(written: str) -> tuple[Any, list[str]]:
    decoder = Decoder("f")
    root = compose(written)
    assert root is not None
    value = decoder.decode(mi.type_info(Outer), root)
    return value, [str(problem).removeprefix("f:") for problem in decoder.problems]


def test_a_whole_value() -> None:
    written = "{needed: 1, inner: {name: a, many: 2}, items: [{name: b}, c], words: w, named: {d: e}}"
    assert decode(written) == (
        Outer(1, Inner("a", 2), (Inner("b"), Inner("c")), ("w",), {"d": Inner("e")}),
        [],
    )


def test_what_is_left_out_has_its_default() -> None:
    assert decode("needed: 1") == (Outer(1), [])
    assert decode("{needed: 1, inner: null}") == (Outer(1), [])


def test_every_mistake_is_found_in_one_walk() -> None:
    _, problems = decode(
        "inner: {nam: a}\nitems: [{name: b, many: 10}, [], {many: x, name: 1}]\nwords: {a: b}\nnamed: 5"
    )
    assert problems == [
        "1:9: inner: unknown key 'nam'; did you mean 'name'?",
        "1:8: inner: expected the key 'name', which is missing",
        "2:25: items[0].many: expected a value between 1 and 9, got 10",
        "2:30: items[1]: expected a mapping with name, many, got a list",
        "2:41: items[2].many: expected a whole number between 1 and 9, got the text 'x'",
        "2:50: items[2].name: expected text, got 1; if it is meant as text, write it in quotes",
        "3:8: words: expected a list, got a mapping",
        "4:8: named: expected a mapping from names, got 5",
        "1:1: expected the key 'needed', which is missing",
    ]


def test_a_mistake_leaves_a_hole_and_the_rest_stays() -> None:
    value, _ = decode("{needed: 0, items: [{name: a, many: 99}, b, {}]}")
    assert value.needed is HOLE
    assert value.items[0] == Inner("a", HOLE)
    assert value.items[1] == Inner("b")
    assert value.items[2].name is HOLE


def test_a_hole_answers_with_holes_nothing_or_no() -> None:
    assert HOLE.any.thing is HOLE
    assert HOLE.items() is HOLE
    assert list(HOLE) == []
    assert not HOLE
    assert not HOLE < 1
    assert not HOLE > 1


def test_a_key_far_from_any_is_told_the_known_ones() -> None:
    _, problems = decode("needed: 1\nzzzzzz: 2")
    assert problems == ["2:1: unknown key 'zzzzzz'; known are needed, inner, items, words, named"]


def test_a_key_given_twice() -> None:
    assert decode("needed: 1\nneeded: 2")[1] == ["2:1: 'needed' is given twice, first in line 1"]


def test_empty_collections_that_need_an_item() -> None:
    _, problems = decode("needed: 1\nitems: []\nnamed: {}\nwords: []")
    assert [problem.split(": ", 1)[1] for problem in problems] == [
        "items: expected at least one, got an empty list",
        "named: expected at least one, got an empty mapping",
        "words: expected at least one, got an empty list",
    ]


def test_a_bad_name_in_a_mapping_is_reported_at_the_name() -> None:
    value, problems = decode("needed: 1\nnamed: {ok: a, -b: c}")
    assert len(problems) == 1
    assert problems[0].startswith("2:16: named: expected a name of at most 63 letters, digits, '.', '_' and '-'")
    assert set(value.named) == {"ok", "-b"}


def test_a_value_that_was_not_written_is_reported_at_what_was() -> None:
    decoder = Decoder("f")
    root = compose("needed: 1\ninner: short")
    assert root is not None
    decoder.decode(mi.type_info(Outer), root)
    decoder.report_at(("inner", "name"), "no")
    decoder.report_at(("items", 0, "many"), "no")
    assert [str(problem) for problem in decoder.problems] == ["f:2:8: inner: no", "f:1:1: no"]


def test_a_flood_of_mistakes_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        decode("needed: 1\n" + "".join(f"need{i}: 1\n" for i in range(60_000)))
    *problems, last = caught.value.problems
    assert len(problems) == MAX_PROBLEMS
    assert str(last) == f"f:{MAX_PROBLEMS + 1}:1: these are {MAX_PROBLEMS} mistakes; there may be more"
