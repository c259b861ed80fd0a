"""What must hold within routes, and between them, pools, labels and policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from config.check_labels import check_label
from config.findings import Finding, repeated
from config.hole import HOLE
from config.node import Node
from config.problems import Path, did_you_mean, joined, listed, quote
from config.schema import Condition, Config, PolicySpec, Route, Rule, Split, Target, Variant

_TESTS = {"equals": "equals", "prefix": "prefix", "regex": "regex", "in_": "in", "present": "present"}
_OTHERS = ("api", "method", "principal", "model")


class _Place(NamedTuple):
    """Somewhere that requests are sent: by `route` and `rule`, where they are known."""

    path: Path
    target: Target | Variant
    route: Route | None = None
    rule: Rule | None = None


def check_routes(config: Config, options: Mapping[Path, Node]) -> Iterator[Finding]:
    """Every mistake in a route, and in what the policies refer to; `options` is what each policy was given."""
    for place in _places(config, options):
        yield from _pool(config, place)
        yield from check_label(config, (*place.path, "version"), place.target, place.route, place.rule)
    for i, route in enumerate(config.routes):
        path = ("routes", i)
        for j, rule in enumerate(route.rules):
            for k, condition in enumerate(rule.when):
                yield from _condition(condition, (*path, "rules", j, "when", k))
        if route.split:
            yield from _split(route.split, (*path, "split"))
        yield from _names(route, path)
        yield from _policies(config, route.policies, path)
    for i, listener in enumerate(config.listen):
        yield from _policies(config, listener.policies, ("listen", i))


def _places(config: Config, options: Mapping[Path, Node]) -> Iterator[_Place]:
    for i, route in enumerate(config.routes):
        if route.to:
            yield _Place(("routes", i, "to"), route.to, route)
        for j, rule in enumerate(route.rules):
            yield _Place(("routes", i, "rules", j, "to"), rule.to, route, rule)
        if route.split:
            for name, variant in route.split.variants.items():
                yield _Place(("routes", i, "split", "variants", name), variant, route)
    for path, policy in options.items():
        yield from _of_policy(path, policy)


def _of_policy(path: Path, policy: Node) -> Iterator[_Place]:
    for field in msgspec.structs.fields(policy):
        value = getattr(policy, field.name)
        if isinstance(value, Target | Variant):
            yield _Place((*path, field.encode_name), value)
        elif isinstance(value, tuple):
            targets = (each for each in enumerate(value) if isinstance(each[1], Target | Variant))
            yield from (_Place((*path, field.encode_name, i), target) for i, target in targets)


def _pool(config: Config, place: _Place) -> Iterator[Finding]:
    pool = place.target.pool
    if config.pools is not HOLE and pool is not HOLE and pool not in config.pools:
        known = f" (one of: {listed(config.pools)})" if config.pools else ""
        hint = did_you_mean(pool, config.pools)
        yield (*place.path, "pool"), f"expected the name of a pool{known}, got {quote(pool)}{hint}"


def _condition(condition: Condition, path: Path) -> Iterator[Finding]:
    if condition is HOLE:
        return
    tests = [name for field, name in _TESTS.items() if _is_given(getattr(condition, field))]
    choice = f"one of {joined(list(_TESTS.values()))}"
    if condition.header is None:
        for name in tests:
            yield (*path, name), f"expected `header` beside `{name}`: the header that it is a test of"
        if not tests and not any(_is_given(getattr(condition, field)) for field in _OTHERS):
            yield path, f"expected a header with {choice}, or {', '.join(_OTHERS)}; got an empty condition"
    elif len(tests) != 1:
        yield (*path, tests[1] if tests else "header"), f"expected {choice} beside `header`, got {joined(tests)}"
    places = (((*path, "in", i), value, value) for i, value in enumerate(condition.in_) if value is not HOLE)
    for place, first, value in repeated(places):
        yield place, f"expected each value once, got {quote(value)} again, as in {first}"


def _is_given(value: object) -> bool:
    return value is HOLE or value not in (None, ())


def _split(split: Split, path: Path) -> Iterator[Finding]:
    variants = list(split.variants.values())
    if variants and all(variant.weight == 0 for variant in variants):
        yield (*path, "variants"), "expected a weight above 0 for one of the variants, got 0 for each"


def _names(route: Route, path: Path) -> Iterator[Finding]:
    """Rules and variants are told apart by name in the same headers and metrics."""
    variants = route.split.variants if route.split else {}
    named = [((*path, "split", "variants", name), name, name) for name in variants]
    named += [((*path, "rules", j, "name"), rule.name, rule.name) for j, rule in enumerate(route.rules) if rule.name]
    for place, first, name in repeated(named):
        yield place, f"expected a name of its own, got {quote(name)}, which {first} has already"


def _policies(config: Config, policies: tuple[PolicySpec, ...], path: Path) -> Iterator[Finding]:
    references = [((*path, "policies", i), each.name) for i, each in enumerate(policies) if each.name]
    for place, name in references:
        if config.policies is not HOLE and name not in config.policies:
            known = f" (one of: {listed(config.policies)})" if config.policies else ""
            hint = did_you_mean(name, config.policies) or "; one of its own is written {kind: …}"
            yield place, f"expected the name of a shared policy{known}, got {quote(name)}{hint}"
    for place, first, name in repeated((place, name, name) for place, name in references):
        yield place, f"expected each policy once, got {quote(name)} again, as in {first}"
