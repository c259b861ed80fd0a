"""Unsound orders, and where in the file they are."""

from __future__ import annotations

import re

import pytest

from config.load import ConfigError, parse
from config.routes import PolicySpec
from gateway.soundness import link_of, review
from policies import registry
from routing.order import IDENTITY

FILE = """\
listen:
  - address: 0.0.0.0:8080
    apis: [inference, metadata]
    policies: [%s]
pools:
  p: {endpoints: [a:1]}
policies:
  nobody: {kind: anonymous}
  again: {kind: retry}
routes:
  - match: {model: a}
    to: p
    policies: [%s]
  - match: {model: b}
    to: p
    policies: [%s]
"""
ALLOW = "{kind: authorize, allow: [{}]}"


def warnings(front: str = "", first: str = "", second: str = "", apis: str = "") -> list[str]:
    """The warnings of such a file."""
    said: list[str] = []
    text = FILE % (front, first, second)
    text = text.replace("inference, metadata", apis) if apis else text
    parse(text, "gateway.yaml", policies=registry(), review=review, warn=lambda each: said.append(str(each)))
    return said


def test_a_sound_file_has_no_warnings() -> None:
    assert warnings(first=f"nobody, {ALLOW}, again", second="{kind: timeout, total: 1s}, again") == []
    assert warnings(front="nobody", first=ALLOW) == []


def test_a_warning_has_its_place() -> None:
    (said,) = warnings(second=f"again, {ALLOW}")
    assert said.startswith("gateway.yaml:16:23: routes[1].policies[1]: authorize stands without a policy of identity")


def test_what_a_listener_has_is_before_every_route_and_told_once() -> None:
    (said,) = warnings(front=ALLOW)
    assert said.startswith("gateway.yaml:4:16: listen[0].policies[0]: authorize stands without")


LIMIT = "{kind: rate_limit, rate: 1/s}"
BY_ADDRESS = "{kind: rate_limit, rate: 1/s, by: address}"
ROOM = "{kind: concurrency, limit: 9}"
URGENT = "{kind: concurrency, limit: 9, classes: [{name: paid, scope: paid}]}"
CACHE, SHARED, HEDGE = "{kind: cache}", "{kind: cache, scope: shared}", "{kind: hedge}"


@pytest.mark.parametrize(
    ("chain", "column", "said"),
    [
        (LIMIT, 16, "rate_limit stands without a policy of identity before it: nobody is known"),
        (f"{{kind: rate_limit, rate: 1/s, by: [model, tenant]}}, {ROOM}", 16, "rate_limit stands without a policy"),
        ("{kind: rate_limit, rate: 1/s, by: pool}, nobody", 16, "rate_limit stands before anonymous (nobody): where"),
        (f"again, {BY_ADDRESS}", 16, "retry (again) stands before rate_limit: each attempt is counted"),
        (f"{HEDGE}, {BY_ADDRESS}", 16, "hedge stands before rate_limit: both"),
        (f"{ROOM}, nobody", 16, "concurrency stands before anonymous (nobody): who is refused there"),
        (URGENT, 16, "concurrency stands without a policy of identity before it: nobody is known"),
        (f"nobody, {ROOM}, {ALLOW}", 24, "concurrency stands before authorize: who is refused there"),
        (f"{ROOM}, {BY_ADDRESS}", 16, "concurrency stands before rate_limit: what is refused there"),
        (f"{ROOM}, {SHARED}", 16, "concurrency stands before cache: a hit waits"),
        (f"again, {ROOM}", 23, "concurrency stands after retry (again): what finds no room comes again"),
        (f"{HEDGE}, {ROOM}", 31, "concurrency stands after hedge: each of a pair"),
        (CACHE, 16, "cache stands without a policy of identity before it: all callers are one"),
        (f"nobody, {SHARED}, {ALLOW}", 24, "cache stands before authorize: it answers callers"),
        (f"{SHARED}, {BY_ADDRESS}", 16, "cache stands before rate_limit: what it answers counts"),
        (f"again, {SHARED}", 16, "retry (again) stands before cache: a hit"),
        (f"{HEDGE}, {SHARED}", 31, "cache stands after hedge: the second of a pair"),
    ],
)
def test_each_order_that_is_unsound_is_told_where_it_is(chain: str, column: int, said: str) -> None:
    (found,) = warnings(first=chain)
    assert re.fullmatch(rf"gateway\.yaml:13:{column}: routes\[0\]\.policies\[\d\]: {re.escape(said)}.*", found)


@pytest.mark.parametrize(
    "chain",
    [
        f"{BY_ADDRESS}, nobody, {ALLOW}, {LIMIT}, {CACHE}, {URGENT}, again, {HEDGE}",
        f"{BY_ADDRESS}, {SHARED}, {ROOM}, {HEDGE}",
        f"nobody, {ROOM}",
    ],
)
def test_sound_orders(chain: str) -> None:
    assert warnings(first=chain) == []


def test_what_cannot_work_is_a_mistake() -> None:
    with pytest.raises(ConfigError) as caught:
        warnings(first="again, nobody", second=f"again, {ALLOW}")
    (problem,) = caught.value.problems
    assert str(problem).startswith(
        "gateway.yaml:13:16: routes[0].policies[0]: expected retry (again) after anonymous (nobody): it needs"
    )


def test_what_names_no_model_is_open_where_routes_alone_ask_who_calls() -> None:
    (said,) = warnings(first="nobody", apis="inference, metadata, statistics, repository")
    assert said.startswith("gateway.yaml:2:5: listen[0]: routes ask who calls, but this listener does not: its ")
    assert "statistics, repository of no model are open to all" in said
    assert warnings(apis="inference, statistics") == []
    assert warnings(front="nobody", first="nobody", apis="inference, statistics") == []


KEYS = "{kind: api_key}"


@pytest.mark.parametrize("policy", [LIMIT, KEYS, CACHE])
def test_what_needs_a_store_where_there_is_none_is_a_mistake(policy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse("state: none\n" + FILE % (policy, "", ""), "gateway.yaml", policies=registry(), review=review)
    (problem,) = caught.value.problems
    assert str(problem).startswith("gateway.yaml:5:16: listen[0].policies[0]: expected a store for ")


@pytest.mark.parametrize(
    ("policy", "more"), [(LIMIT.replace("}", ", mode: local}"), ""), (KEYS, "key_file: /dev/null\n")]
)
def test_what_needs_none_does_without(policy: str, more: str) -> None:
    parse("state: none\n" + more + FILE % (policy, "", ""), "gateway.yaml", policies=registry(), review=review)


def test_headers_that_never_come() -> None:
    text = (
        "listen:\n  - {address: '0.0.0.0:1', forward_headers: [x_a, x-b]}\npools: {p: {endpoints: [a:1]}}\n"
        "routes:\n  - match: {model: a}\n    to: p\n    rules: [{when: {header: x_c, present: true}, to: p}]\n"
    )
    said: list[str] = []
    parse(text, "g.yaml", review=review, warn=lambda each: said.append(f"{each.line} {each.message}"))
    assert [each.split(":")[0] for each in said] == ["2 'x_a' never comes", "7 'x_c' never comes"]
    said.clear()
    text = text.replace("forward_headers", "underscores: allow, forward_headers")
    parse(text, "g.yaml", review=review, warn=lambda each: said.append(str(each)))
    assert said == []


@pytest.mark.parametrize("kind", sorted(registry()))
def test_what_policies_say_of_orders_can_be_read(kind: str) -> None:
    link = link_of(PolicySpec(kind))
    for unsound in link.order:
        assert unsound.place in ("before", "after", "without")
        assert unsound.other == IDENTITY or unsound.other.replace("_", "").isalpha()
        assert not unsound.why.endswith(".")
