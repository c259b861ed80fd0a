"""Nodes to types, on types of the tests' own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
import msgspec.inspect as mi
import pytest

from config.decode import MAX_PROBLEMS, Decoder
from config.fields import count, duration, flag, if_given, one_or_several, several, text
from config.hole import HOLE
from config.nodes import compose
from config.problems import ConfigError
from config.schema import Node, PolicySpec, PoolName


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


class Test(Node, frozen=True):
    in_: Annotated[tuple[Annotated[str, text("")], ...], if_given("", bare_item=True)] = msgspec.field(
        default=(), name="in"
    )
    on: Annotated[bool, flag("")] | None = None


class Newer(Node, frozen=True):
    one_of: ClassVar[tuple[str, ...]] = ("left", "right", "here")

    left: Annotated[int, count("", 1, 9)] | None = None
    right: Inner | None = None
    here: Annotated[bool, flag("")] = False
    tests: Annotated[tuple[Test, ...], if_given("", bare_item=True)] = ()
    variables: dict[Annotated[str, text("", "variable")], dict[str, Annotated[str, text("", "setting")]]] = (
        msgspec.field(default_factory=dict)
    )
    policies: tuple[PolicySpec, ...] = ()


class Options(Node, frozen=True):
    """Options of a policy."""

    needed: Annotated[float, duration("", 0, 9)]
    inner: Inner = Inner("a")
    more: tuple[Inner, ...] = ()


def decode_newer(written: str) -> tuple[Any, list[str]]:
    decoder = Decoder("f", {"wait": Options, "other": Test})
    root = compose(written)
    assert root is not None
    value = decoder.decode(mi.type_info(Newer), root, ("routes",))
    return value, [str(problem).removeprefix("f:").replace("routes.", "") for problem in decoder.problems]


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


def test_a_field_may_be_called_what_python_reserves() -> None:
    assert decode_newer("{left: 1, tests: [{in: [a]}]}") == (Newer(1, tests=(Test(("a",)),)), [])
    assert decode_newer("{left: 1, tests: [{in_: [a]}, {in: 5, on: no}]}")[1] == [
        "1:20: tests[0]: unknown key 'in_'; did you mean 'in'?",
        "1:36: tests[1].in: expected text, got 5; if it is meant as text, write it in quotes",
        "1:43: tests[1].on: expected true or false, got no",
    ]


def test_one_mapping_needs_no_list_around_it() -> None:
    assert decode_newer("{left: 1, tests: {on: true}}") == (Newer(1, tests=(Test(on=True),)), [])
    assert decode_newer("{left: 1, tests: []}")[1] == ["1:18: tests: expected at least one, got an empty list"]
    assert decode_newer("{left: 1, tests: a}")[1] == ["1:18: tests: expected a mapping with in, on, got 'a'"]


def test_one_of_several_fields() -> None:
    for written in ("left: 1", "right: a", "here: true", "{here: true, left: null}", "{here: false, left: 1}"):
        assert decode_newer(written)[1] == []
    expected = "expected one of left, right and here, got"
    for written in ("{}", "here: false", "left: null"):
        assert decode_newer(written)[1] == [f"1:1: routes: {expected} none"]
    assert decode_newer("{here: true, left: 5}")[1] == [f"1:8: routes: {expected} left and here"]
    assert decode_newer("{left: 0, right: 5}")[1][1:] == [
        "1:18: right: expected text, got 5; if it is meant as text, write it in quotes",
        f"1:18: routes: {expected} left and right",
    ]


def test_keys_have_forms_too() -> None:
    value, problems = decode_newer("{left: 1, variables: {A: {any key: '', b: 2}, B-C: {}}}")
    assert value.variables["A"] == {"any key": "", "b": "2"}
    assert problems == ["1:47: variables: expected the name of a variable such as OMP_NUM_THREADS, got 'B-C'"]


def test_policies_have_the_options_of_their_kind() -> None:
    value, problems = decode_newer("{left: 1, policies: [{needed: 2s, kind: wait, more: [b]}, name, {kind: other}]}")
    assert problems == []
    options = {"needed": 2.0, "inner": {"name": "a", "many": 3}, "more": [{"name": "b", "many": 3}]}
    assert value.policies == (
        PolicySpec("wait", options),
        PolicySpec("", name="name"),
        PolicySpec("other", {"in": [], "on": None}),
    )


def test_mistakes_in_policies_are_reported_where_they_stand() -> None:
    value, problems = decode_newer(
        "left: 1\npolicies:\n"
        "- {kind: wait, needed: 10s, inner: {many: 0}, x: 1}\n"
        "- {kind: wiat, needed: 1s}\n"
        "- {needed: 1s}\n"
        "- {kind: 5}\n"
        "- [wait]\n"
        "- 5\n"
        "- {kind: wait, kind: wait}\n"
        "- null"
    )
    assert problems == [
        "3:24: policies[0].needed: expected a value between 0s and 9s, got 10s",
        "3:43: policies[0].inner.many: expected a value between 1 and 9, got 0",
        "3:36: policies[0].inner: expected the key 'name', which is missing",
        "3:47: policies[0]: unknown key 'x'; known are needed, inner, more",
        "4:10: policies[1].kind: expected one of: wait, other; got 'wiat'; did you mean 'wait'?",
        "5:3: policies[2]: expected the key 'kind', which is missing",
        "6:10: policies[3].kind: expected the kind of a policy, got 5; if it is meant as text, write it in quotes",
        "7:3: policies[4]: expected a mapping with kind and options, got a list",
        "8:3: policies[5]: expected text, got 5; if it is meant as text, write it in quotes",
        "9:16: policies[6]: 'kind' is given twice, first in line 9",
        "9:3: policies[6]: expected the key 'needed', which is missing",
        "10:3: policies[7]: expected a mapping with kind and options, got nothing",
    ]
    assert value.policies[0] == PolicySpec("wait")
    assert value.policies[1] is HOLE


def test_options_may_be_merged_in() -> None:
    value, problems = decode_newer("{left: 1, policies: [&a {kind: wait, needed: 2s}, {<<: *a, needed: 3s}]}")
    assert problems == []
    assert [policy.options["needed"] for policy in value.policies] == [2.0, 3.0]


def test_a_shared_policy_is_a_mapping() -> None:
    decoder = Decoder("f")
    root = compose("{a: retry, b: {kind: retry}}")
    assert root is not None
    decoder.decode(mi.type_info(dict[str, PolicySpec]), root, ("policies",))
    assert [str(problem) for problem in decoder.problems] == [
        "f:1:5: policies.a: expected a mapping with kind and options, got 'retry'",
        "f:1:22: policies.b.kind: expected no policy, since none are known here; got 'retry'",
    ]


def test_a_place_in_a_list_that_was_not_written_as_one() -> None:
    decoder = Decoder("f")
    root = compose("left: 1\ntests: {in: [a, b]}")
    assert root is not None
    decoder.decode(mi.type_info(Newer), root)
    decoder.report_at(("tests", 0, "in", 1), "no")
    decoder.report_at(("tests", 0), "no")
    assert [str(problem) for problem in decoder.problems] == ["f:2:17: tests.in[1]: no", "f:2:8: tests: no"]


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
