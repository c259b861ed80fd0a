"""Routes as they are written."""

from __future__ import annotations

import msgspec
import pytest

from config.load import parse
from config.routes import Condition, Match, Route, Rule, Split, Sticky, Target, Variant
from config.schema import Config
from tests.support.configurations import text_with

LABELS = "{m: {stable: 1}}"
POOLS = "{main: {endpoints: [a:1]}, p: {endpoints: [a:1]}, q: {endpoints: [a:1]}, r: {endpoints: [a:1]}}"


def route(written: str) -> Route:
    """The route of this text, as it arrives in another process."""
    text = text_with(routes=f"[{{match: {{model: m}}, {written}}}]", labels=LABELS, pools=POOLS)
    config = parse(text, "f")
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=Config)
    assert copy == config
    assert copy.labels == {"m": {"stable": "1"}}
    return copy.routes[0]


M = Match(("m",))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("to: p", Route(M, Target("p"), "m")),
        ("to: {pool: p, model: n, version: 2}", Route(M, Target("p", "n", "2"), "m")),
        (
            "to: {pool: p, version: stable}, name: x, timeout: 1s",
            Route(M, Target("p", None, "stable"), "x", timeout=1.0),
        ),
        (
            "to: p, rules: [{when: {header: X-A, equals: 2}, to: {pool: q, version: latest}}]",
            Route(M, Target("p"), "m", (Rule((Condition("x-a", "2"),), Target("q", None, "latest"), "rules[0]"),)),
        ),
        (
            "to: p, rules: [{name: b, when: [{header: x-a, in: [1, b]}, {api: grpc, model: 'm*'}], to: q}]",
            Route(
                M,
                Target("p"),
                "m",
                (Rule((Condition("x-a", in_=("1", "b")), Condition(api="grpc", model=("m*",))), Target("q"), "b"),),
            ),
        ),
        (
            "to: p, rules: [{when: {header: x-a, present: false, method: stream, principal: [a, b]}, to: q}]",
            Route(
                M,
                Target("p"),
                "m",
                (
                    Rule(
                        (Condition("x-a", present=False, method="stream", principal=("a", "b")),),
                        Target("q"),
                        "rules[0]",
                    ),
                ),
            ),
        ),
        (
            "split: {variants: {a: {pool: p, weight: 95}, b: {pool: q, version: 2, weight: 5}}, sticky: {header: X-U}}",
            Route(
                M,
                None,
                "m",
                split=Split({"a": Variant("p", weight=95), "b": Variant("q", None, "2", 5)}, Sticky(header="x-u"), "m"),
            ),
        ),
        (
            "split: {variants: {a: {pool: p, model: n}}, sticky: {address: true}, salt: s}",
            Route(M, None, "m", split=Split({"a": Variant("p", "n")}, Sticky(address=True), "s")),
        ),
    ],
)
def test_routes(written: str, expected: Route) -> None:
    assert route(written) == expected


def test_the_pools_of_a_route() -> None:
    rules = "rules: [{when: {api: grpc}, to: q}, {when: {api: rest}, to: p}]"
    assert route(f"to: p, {rules}").pools == ("p", "q")
    assert route(f"split: {{variants: {{a: {{pool: r}}, b: {{pool: p}}}}}}, {rules}").pools == ("q", "p", "r")
