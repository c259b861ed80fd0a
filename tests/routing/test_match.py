"""Conditions of rules over headers, metadata and what else is known of a request."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.routes import Condition
from routing import match as module
from routing.match import Expression, View, binary_items, compile_conditions


def holds(condition: Condition | list[Condition], view: View) -> bool:
    conditions = condition if isinstance(condition, list) else [condition]
    return all(check.holds(view) for check in compile_conditions(conditions))


def a_view(value: bytes | None = None, name: bytes = b"x-tier", **more: Any) -> View:
    headers = {} if value is None else {name: value}
    return View(**{"api": "rest", "method": "infer", "model": "m", "headers": headers, **more})


def on(**how: Any) -> Condition:
    return Condition(header="X-Tier", **how)


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        (on(equals="gold"), b"gold", True),
        (on(equals="gold"), b"Gold", False),
        (on(equals="gold"), b"golden", False),
        (on(equals="gold"), None, False),
        (on(equals=""), b"", True),
        (on(equals="café"), "café".encode(), True),
        (on(in_=("gold", "silver")), b"silver", True),
        (on(in_=("gold", "silver")), b"bronze", False),
        (on(prefix="go"), b"gold", True),
        (on(prefix="go"), b"argon", False),
        (on(regex="g.*d"), b"gold", True),
        (on(regex="g.*d"), b"golden", False),
        (on(regex="(a|b)+"), b"abba", True),
        (on(regex="é."), "éa".encode(), True),
        (on(regex=".*"), b"\xff", False),  # not text
        (on(present=True), b"", True),
        (on(present=True), None, False),
        (on(present=False), b"", False),
        (on(present=False), None, True),
    ],
)
def test_a_header(condition: Condition, value: bytes | None, expected: bool) -> None:
    assert holds(condition, a_view(value)) is expected


@pytest.mark.parametrize("how", [{"equals": "gold"}, {"in_": ("gold",)}, {"prefix": "gol"}, {"regex": "gold"}])
def test_a_header_that_comes_several_times_is_a_list(how: dict[str, Any]) -> None:
    assert holds(on(**how), a_view(b"silver, gold"))
    assert holds(on(**how), a_view(b"gold,silver"))
    assert not holds(on(**how), a_view(b"silver, bronze"))


def test_the_whole_value_may_have_commas() -> None:
    assert holds(on(equals="a, b"), a_view(b"a, b"))


def test_only_so_many_items_are_looked_at() -> None:
    many = b"x," * module.MOST_ITEMS
    assert not holds(on(equals="gold"), a_view(many + b"gold"))
    assert holds(on(equals="gold"), a_view(many[2:] + b"gold"))


def test_binary_metadata_is_compared_as_its_bytes() -> None:
    condition = Condition(header="trace-bin", equals="a,b")
    for coded in (b"YSxi", b"eA, YSxi", b"!!!,YSxi"):
        assert holds(condition, a_view(coded, b"trace-bin", api="grpc"))
    assert not holds(condition, a_view(b"a,b", b"trace-bin", api="grpc"))
    assert holds(condition, a_view(b"a,b", b"trace-bin"))  # over REST it is a header like any other


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.booleans())
def test_binary_items_are_what_was_coded(values: list[bytes], padded: bool) -> None:
    coded = [base64.b64encode(value) for value in values]
    joined = b",".join(coded if padded else [each.rstrip(b"=") for each in coded])
    assert binary_items(joined) == values


@pytest.mark.parametrize(
    ("condition", "view", "expected"),
    [
        (Condition(api="grpc"), {"api": "grpc"}, True),
        (Condition(api="grpc"), {"api": "rest"}, False),
        (Condition(method="generate"), {"method": "generate"}, True),
        (Condition(method="generate"), {"method": "stream"}, False),
        (Condition(model=("res*", "bert")), {"model": "resnet"}, True),
        (Condition(model=("res*", "bert")), {"model": "gpt"}, False),
        (Condition(principal=("team-*",)), {"principal": "team-a"}, True),
        (Condition(principal=("team-*",)), {"principal": "other"}, False),
        (Condition(principal=("*",)), {"principal": ""}, False),
    ],
)
def test_what_is_no_header(condition: Condition, view: dict[str, str], expected: bool) -> None:
    assert holds(condition, a_view(**view)) is expected


def test_all_conditions_must_hold() -> None:
    both = Condition(header="x-tier", equals="gold", api="grpc")
    assert holds(both, a_view(b"gold", api="grpc"))
    assert not holds(both, a_view(b"gold"))
    separate = [Condition(api="grpc"), on(equals="gold"), Condition(model=("m",))]
    assert holds(separate, a_view(b"gold", api="grpc"))
    assert not holds(separate, a_view(b"gold", api="grpc", model="n"))


def test_an_expression_that_is_none() -> None:
    with pytest.raises(ValueError, match="expected a regular expression"):
        compile_conditions([on(regex="(?=a)")])


def test_no_expression_and_no_value_costs_more_than_linear_time() -> None:
    condition = on(regex="(a+)+b|(x*)*y")
    started = time.perf_counter()
    assert not holds(condition, a_view(b"a" * 32_000))
    assert time.perf_counter() - started < 1  # a backtracking engine would never end


def test_what_an_expression_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_VALUES", 10)
    expression = Expression("x", "1.*")
    for number in range(100):
        assert expression.fits(b"%d" % number) is str(number).startswith("1")
        assert len(expression._known) <= 10
    assert not expression.fits(b"2" * 10_000)
    assert max(map(len, expression._known)) < 256


def test_a_view_says_what_it_is() -> None:
    assert repr(a_view(address="10.0.0.1")) == "<View rest infer 'm' from 10.0.0.1>"
