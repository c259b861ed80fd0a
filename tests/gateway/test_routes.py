"""From the routes of a configuration to tables."""

from __future__ import annotations

import asyncio
import random

import pytest

from config.schema import Condition as When
from config.schema import Match, Route, Rule, Split, Sticky, Target, Variant
from gateway.routes import RouteLinker
from routing.call import Call, Handler, Reply
from routing.match import View
from routing.pool import Pool
from routing.table import Table
from routing.versions import Latest
from tests.support.pools import a_call, a_pool, an_endpoint

LABELS = {"m": {"stable": "1"}}


def linked(route: Route, seed: int = 1) -> Table:
    endpoint = an_endpoint(models={"m": {"1": "READY", "5": "READY"}})
    pools = {name: a_pool([endpoint]) for name in ("a", "b")}
    made: dict[Pool, Latest] = {}
    linker = RouteLinker(pools, lambda pool: made.setdefault(pool, Latest(pool)), LABELS, random.Random(seed).random)
    return linker.table(route)


def a_route(**more: object) -> Route:
    return Route(match=Match(("m",)), name="r", **more)  # type: ignore[arg-type]


def a_view(user: str = "") -> View:
    return View("rest", "infer", "m", {b"x-user": user.encode()} if user else {})


@pytest.mark.parametrize(("version", "resolved"), [(None, ""), ("3", "3"), ("stable", "1"), ("latest", "5")])
def test_versions(version: str | None, resolved: str) -> None:
    only = linked(a_route(to=Target("a", version=version))).only
    assert only is not None
    assert only.resolve("m", "")[:2] == ("m", resolved)
    assert (only.route, only.name, only.model) == ("r", "", "")


def test_the_chain_ends_at_the_pool() -> None:
    only = linked(a_route(to=Target("a", model="other"))).only
    assert only is not None
    assert only.handler == only.pool.forward
    assert only.model == "other"


def test_rules_in_order() -> None:
    rules = (
        Rule(when=(When(header="x-user", equals="alice"), When(api="rest")), to=Target("b"), name="alice"),
        Rule(when=(When(header="x-user", present=True),), to=Target("b")),
    )
    table = linked(a_route(to=Target("a"), rules=rules))
    assert [table.choose(a_view(user)).name for user in ("alice", "bob", "")] == ["alice", "rules[1]", ""]


def test_the_salt_is_the_routes_name_unless_given() -> None:
    variants = {"x": Variant("a"), "y": Variant("b")}

    def chosen(name: str, salt: str) -> list[str]:
        split = Split(variants=variants, sticky=Sticky(header="x-user"), salt=salt)
        table = linked(Route(match=Match(("m",)), name=name, split=split))
        return [table.choose(a_view(str(number))).name for number in range(100)]

    assert chosen("one", "") != chosen("two", "")
    assert chosen("one", "") == chosen("two", "one")


def test_chance_is_injected() -> None:
    split = Split(variants={"x": Variant("a"), "y": Variant("b")})

    def chosen(seed: int) -> list[str]:
        table = linked(a_route(split=split), seed)
        return [table.choose(a_view()).name for _ in range(50)]

    assert chosen(1) == chosen(1) != chosen(2)


def test_a_route_to_nowhere() -> None:
    with pytest.raises(ValueError, match="route r: expected to or split"):
        linked(a_route())


def test_a_policy_may_want_to_know_for_which_pool_a_call_is() -> None:
    seen = []

    class Asks:
        needs_pool = True

        async def __call__(self, call: Call, next: Handler) -> Reply:
            seen.append(call.pool)
            return await next(call)

    pools = {"a": a_pool([an_endpoint()], name="a")}
    linker = RouteLinker(pools, Latest, LABELS, random.random)
    only = linker.table(a_route(to=Target("a")), [Asks()]).only
    assert only is not None
    asyncio.run(only.handler(a_call()))
    assert seen == ["a"]
