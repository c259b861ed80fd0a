"""Unsound orders, and where in the file they are."""

from __future__ import annotations

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
