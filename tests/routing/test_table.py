"""A route's variants, the choice among them, and what is told of it."""

from __future__ import annotations

import random

import pytest

from config.routes import Condition, Sticky
from routing.match import View, compile_conditions
from routing.split import Share, Split
from routing.table import MOST_TOLD, NOTHING_TOLD, Decision, Rule, Shares, Table, Variant
from routing.versions import Labelled
from tests.support.pools import a_pool
from transcoding.http2 import hpack
from transcoding.status import GatewayError


def a_view(**headers: str) -> View:
    return View(
        "rest", "infer", "m", {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    )


def a_variant(name: str = "", **more: object) -> Variant:
    pool = a_pool([])
    return Variant("r", name, pool, pool.forward, **more)  # type: ignore[arg-type]


def a_rule(name: str, **condition: object) -> Rule:
    return Rule(compile_conditions([Condition(**condition)]), a_variant(name))  # type: ignore[arg-type]


def a_split(**weights: int) -> Shares:
    split = Split("s", list(map(Share, weights, weights.values())), Sticky(header="x-user"), random.Random(1).random)
    return Shares(split, tuple(map(a_variant, weights)), tuple(weights.values()))


def test_the_first_rule_that_holds_decides() -> None:
    rules = [
        a_rule("one", header="x-a", equals="1"),
        a_rule("any", header="x-a", present=True),
        a_rule("late", header="x-b", present=True),
    ]
    table = Table(rules, a_variant())
    assert table.only is None
    chosen = [table.choose(view).name for view in (a_view(x_a="1"), a_view(x_a="2", x_b=""), a_view(x_b=""), a_view())]
    assert chosen == ["one", "any", "late", ""]


def test_all_conditions_of_a_rule_must_hold() -> None:
    table = Table([a_rule("r", header="x-a", equals="1", api="grpc")], a_variant())
    assert table.choose(a_view(x_a="1")).name == ""


def test_a_split_takes_what_no_rule_does() -> None:
    table = Table([a_rule("inside", header="x-staff", present=True)], a_split(stable=50, canary=50))
    assert {table.choose(a_view(x_user=str(number))).name for number in range(50)} == {"stable", "canary"}
    assert {table.choose(a_view(x_user=str(number), x_staff="")).name for number in range(50)} == {"inside"}


def test_one_target_needs_no_choice() -> None:
    variant = a_variant()
    table = Table([], variant)
    assert table.only is variant
    assert table.variants == table.defaults == (variant,)
    alone = Table([], a_split(stable=100, canary=0))
    assert alone.only is not None
    assert alone.only.name == "stable"


def test_the_order_of_variants() -> None:
    table = Table([a_rule("rule", api="grpc")], a_split(off=0, a=1, b=2))
    assert [each.name for each in table.defaults] == ["a", "b"]
    assert [each.name for each in table.variants] == ["a", "b", "rule", "off"]


def test_a_choice_is_explained() -> None:
    table = Table([a_rule("rule", header="x-a", present=True)], a_split(a=50, b=50))
    decision = table.explain(a_view(x_a=""))
    assert decision == Decision(table.rules[0].variant, rule=0)
    view = a_view(x_user="alice")
    decision = table.explain(view)
    assert (decision.variant, decision.key, decision.rule) == (table.choose(view), b"alice", None)
    assert decision.bucket == a_split(a=50, b=50).split.bucket(view)
    assert table.explain(a_view()).key == b""
    plain = a_variant()
    assert Table([a_rule("rule", api="grpc")], plain).explain(a_view()) == Decision(plain)


# versions and what is told --------------------------------------------------------------------------------------------

ROUTE, CANARY = (b"penstock-route", b"r"), (b"penstock-variant", b"canary")


def test_a_plain_variant_leaves_the_version_alone() -> None:
    variant = a_variant()
    assert variant.resolve("m", "") == ("", variant.told)
    assert variant.resolve("m", "7") == ("7", variant.told)
    assert variant.told.fields == (ROUTE,)


def test_a_version_is_for_those_who_name_none() -> None:
    variant = a_variant("canary", version="2")
    version, told = variant.resolve("m", "")
    assert (version, told.fields) == ("2", (ROUTE, CANARY, (b"penstock-model-version", b"2")))
    assert variant.resolve("m", "")[1] is told
    version, told = variant.resolve("m", "1")
    assert (version, told.fields) == ("1", (ROUTE, CANARY))


def test_a_label_is_that_of_the_model_that_is_asked_for() -> None:
    labels = Labelled("stable", {"m": {"stable": "3"}, "other": {"stable": "4"}})
    assert a_variant(versions=labels).resolve("m", "")[0] == "3"
    assert a_variant(model="other", versions=labels).resolve("m", "")[0] == "4"
    with pytest.raises(GatewayError, match="no version with the label"):
        a_variant(versions=labels).resolve("unlabelled", "")


class Changing:
    def __init__(self) -> None:
        self.version = ""

    def of(self, model: str) -> str:
        return self.version


def test_a_version_that_moves_is_told_as_it_is_now() -> None:
    versions = Changing()
    variant = a_variant(versions=versions)
    assert variant.resolve("m", "") == ("", variant.told)
    for number in range(2 * MOST_TOLD):
        versions.version = str(number)
        version, told = variant.resolve("m", "")
        assert (version, told.fields[-1]) == (str(number), (b"penstock-model-version", b"%d" % number))
        assert len(variant._told) <= MOST_TOLD


def test_the_bytes_that_tell() -> None:
    told = a_variant("canary").told
    assert told.lines == b"penstock-route: r\r\npenstock-variant: canary\r\n\r\n"
    assert told.block == hpack.encode([ROUTE, CANARY])
    assert (NOTHING_TOLD.lines, NOTHING_TOLD.block, NOTHING_TOLD.fields) == (b"\r\n", b"", ())
    assert repr(told) == "Told(((b'penstock-route', b'r'), (b'penstock-variant', b'canary')))"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("*", b"*"),
        ("two words", b"two%20words"),
        ("naïve", b"na%C3%AFve"),
        ("a\r\nb: c", b"a%0D%0Ab:%20c"),
        ("%", b"%25"),
    ],
)
def test_a_name_is_no_way_to_write_headers(name: str, value: bytes) -> None:
    pool = a_pool([])
    assert Variant(name, "", pool, pool.forward).told.fields == ((b"penstock-route", value),)


def test_they_say_what_they_are() -> None:
    assert repr(a_variant("canary", version="2")) == "<Variant r/canary to p version 2>"
    assert repr(a_variant(model="n", versions=Changing())) == "<Variant r to p model n version by label or latest>"
