"""What must hold within routes, and between them and pools, labels and policies."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pytest

from config.fields import duration, items
from config.load import parse
from config.problems import ConfigError
from config.schema import Node, PolicySpec, Target
from tests.support.configurations import mistakes, mistakes_with, text_with


class Fallback(Node, frozen=True):
    """Options like those of a policy that sends elsewhere."""

    to: Target
    more: Annotated[tuple[Target, ...], items("")] = ()
    after: Annotated[float, duration("", 0, 10)] = 1.0


class Choice(Node, frozen=True):
    one_of: ClassVar[tuple[str, ...]] = ("a", "b")

    a: Annotated[float, duration("", 0, 10)] | None = None
    b: Annotated[float, duration("", 0, 10)] | None = None


POLICIES: dict[str, type[Node]] = {"fallback": Fallback, "choice": Choice}


def in_route(written: str, **parts: str) -> list[str]:
    """The mistakes in a route of these parts, without `routes[0]`."""
    found = mistakes_with(routes=f"[{{match: {{model: m}}, {written}}}]", **parts)
    return [line.removeprefix("routes[0]").removeprefix(".") for line in found]


def with_policies(route: str, shared: str = "{}") -> list[str]:
    text = text_with(routes=f"[{{match: {{model: m}}, to: main, policies: {route}}}]", policies=shared)
    try:
        parse(text, "f", policies=POLICIES)
    except ConfigError as error:
        return [str(problem).split(" ", 1)[1] for problem in error.problems]
    return []


def test_a_route_to_a_pool_that_is_not_there() -> None:
    text = text_with(pools="{vision: {endpoints: [a:1]}, local: {endpoints: [a:2]}}")
    pool = "expected the name of a pool (one of: vision, local), got 'visoin'; did you mean 'vision'?"
    column = text.splitlines()[2].index("main") + 1
    assert mistakes(text.replace("to: main", "to: visoin")) == [f"3:{column}: routes[0].to: {pool}"]
    written_out = text.replace("to: main", "to: {pool: visoin}")
    assert mistakes(written_out) == [f"3:{column + len('{pool: ')}: routes[0].to.pool: {pool}"]


def test_a_pool_with_mistakes_is_there_all_the_same() -> None:
    assert mistakes_with(pools="{main: {endpoints: 5}}") == ["pools.main.endpoints: expected a list, got 5"]
    assert mistakes_with(pools="5") == ["pools: expected a mapping from names, got 5"]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("split: {variants: {a: {pool: main}}}", []),
        ("rules: [{when: {api: grpc}, to: main}], to: main", []),
        ("timeout: 1s", [": expected one of to and split, got none"]),
        ("rules: [{when: {api: grpc}, to: main}]", [": expected one of to and split, got none"]),
        ("to: main, split: {variants: {a: {pool: main}}}", [": expected one of to and split, got to and split"]),
        ("split: {variants: {}}", ["split.variants: expected at least one, got an empty mapping"]),
        ("split: {variants: {a: {pool: main, weight: 0}, b: {pool: main}}}", []),
        (
            "split: {variants: {a: {pool: main, weight: 0}, b: {pool: main, weight: 0}}}",
            ["split.variants: expected a weight above 0 for one of the variants, got 0 for each"],
        ),
        (
            "split: {variants: {a: {pool: main, weight: -5}}}",
            ["split.variants.a.weight: expected a value between 0 and 1000000, got -5"],
        ),
        (
            "split: {variants: {a: {pool: mian}}}",
            [
                "split.variants.a.pool: expected the name of a pool (one of: main), got 'mian'; did you mean 'main'?",
            ],
        ),
        (
            "to: main, rules: [{when: {api: rest}, to: mian}]",
            ["rules[0].to: expected the name of a pool (one of: main), got 'mian'; did you mean 'main'?"],
        ),
        (
            "split: {variants: {a: {pool: main}}}, rules: [{name: b, when: {api: rest}, to: main}, "
            "{name: a, when: {api: rest}, to: main}]",
            ["rules[1].name: expected a name of its own, got 'a', which routes[0].split.variants.a has already"],
        ),
    ],
)
def test_where_a_route_leads(written: str, found: list[str]) -> None:
    assert in_route(written) == found


STICKY = "expected one of header, cookie, principal and address, got"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("{header: x-user}", []),
        ("{cookie: session}", []),
        ("{principal: true}", []),
        ("{address: true, principal: false}", []),
        ("{}", [f": {STICKY} none"]),
        ("{principal: false}", [f": {STICKY} none"]),
        ("{header: a, cookie: b}", [f": {STICKY} header and cookie"]),
        ("{cookie: a b}", [".cookie: expected the name of a cookie such as session, got 'a b'"]),
        ("{principal: yes}", [".principal: expected true or false, got yes"]),
    ],
)
def test_what_a_client_sticks_by(written: str, found: list[str]) -> None:
    variants = "variants: {a: {pool: main}}"
    assert in_route(f"split: {{{variants}, sticky: {written}}}") == [f"split.sticky{line}" for line in found]


TESTS = "one of equals, prefix, regex, in and present"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("{header: x-a, equals: 2}", []),
        ("{header: x-a, present: false, api: grpc, method: infer, principal: [a, 'b*'], model: m}", []),
        ("[{header: x-a, in: [1, 2]}, {header: x-b, regex: 'a+|b'}]", []),
        ("{method: stream}", []),
        ("{}", [f": expected a header with {TESTS}, or api, method, principal, model; got an empty condition"]),
        ("[]", [": expected at least one, got an empty list"]),
        (
            "x",
            [
                ": expected a mapping with header, equals, prefix, regex, in, present, api, method, principal, model, "
                "got 'x'"
            ],
        ),
        ("{header: x-a}", [f".header: expected {TESTS} beside `header`, got none"]),
        (
            "{header: x-a, equals: 1, prefix: 2}",
            [f".prefix: expected {TESTS} beside `header`, got equals and prefix"],
        ),
        ("{equals: 1}", [".equals: expected `header` beside `equals`: the header that it is a test of"]),
        ("[{api: rest}, {in: [a]}]", ["[1].in: expected `header` beside `in`: the header that it is a test of"]),
        ("{header: x-a, in: []}", [".in: expected at least one, got an empty list"]),
        ("{header: x-a, in: [a, b, a]}", [".in[2]: expected each value once, got 'a' again, as in {0}.in[0]"]),
        ("{header: x-a, in_: [a]}", [".header: {none}", ": unknown key 'in_'; did you mean 'in'?"]),
        (
            "{header: Authorization, present: true}",
            [".header: expected a header without secrets, got 'Authorization'; clients are told apart by `principal`"],
        ),
        ("{api: http}", [".api: expected one of: grpc, rest; got 'http'"]),
        ("{api: rest, principal: []}", [".principal: expected at least one, got an empty list"]),
    ],
)
def test_conditions(written: str, found: list[str]) -> None:
    path = "rules[0].when"
    none = f"expected {TESTS} beside `header`, got none"
    expected = [path + line.replace("{0}", "routes[0].rules[0].when[0]").replace("{none}", none) for line in found]
    assert in_route(f"to: main, rules: [{{when: {written}, to: main}}]") == expected


def test_a_mistake_in_a_condition_is_reported_where_it_stands() -> None:
    text = text_with(routes="\n  - match: {model: m}\n    to: main\n    rules:\n      - {when: {in: [a]}, to: main}")
    assert [line.split(": ")[0] for line in mistakes(text)] == ["7:21"]


SHARED = "{slow: {kind: fallback, to: main}, quick: {kind: choice, a: 1s}}"


@pytest.mark.parametrize(
    ("route", "shared", "found"),
    [
        ("[slow, quick, {kind: choice, b: 1s}]", SHARED, []),
        ("[]", SHARED, []),
        (
            "[slwo]",
            SHARED,
            [
                "routes[0].policies[0]: expected the name of a shared policy (one of: slow, quick), got 'slwo'; "
                "did you mean 'slow'?"
            ],
        ),
        (
            "[retry]",
            "{}",
            [
                "routes[0].policies[0]: expected the name of a shared policy, got 'retry'; "
                "one of its own is written {kind: …}"
            ],
        ),
        (
            "[slow, slow]",
            SHARED,
            ["routes[0].policies[1]: expected each policy once, got 'slow' again, as in routes[0].policies[0]"],
        ),
        (
            "[{kind: fallback, to: {pool: mian}, more: [main, mian]}]",
            "{}",
            [
                "routes[0].policies[0].to.pool: expected the name of a pool (one of: main), got 'mian'; "
                "did you mean 'main'?",
                "routes[0].policies[0].more[1]: expected the name of a pool (one of: main), got 'mian'; "
                "did you mean 'main'?",
            ],
        ),
        (
            "[a]",
            "{a: {kind: fallback, to: {pool: main, version: stable}}}",
            ["policies.a.to.version: expected a version, latest or a label of a model that comes here, got 'stable'"],
        ),
        (
            "[{kind: choice, a: 1s, b: 1s}]",
            "{a: {kind: choice}}",
            [
                "routes[0].policies[0]: expected one of a and b, got a and b",
                "policies.a: expected one of a and b, got none",
            ],
        ),
    ],
)
def test_policies(route: str, shared: str, found: list[str]) -> None:
    assert with_policies(route, shared) == found


def test_a_shared_policy_stands_where_it_is_named() -> None:
    text = text_with(routes="[{match: {model: m}, to: main, policies: [slow, {kind: choice, a: 2s}]}]", policies=SHARED)
    config = parse(text, "f", policies=POLICIES)
    assert config.routes[0].policies == (
        PolicySpec(
            "fallback", {"to": {"pool": "main", "model": None, "version": None}, "more": [], "after": 1.0}, "slow"
        ),
        PolicySpec("choice", {"a": 2.0, "b": None}),
    )
    assert config.policies["slow"] == config.routes[0].policies[0]
