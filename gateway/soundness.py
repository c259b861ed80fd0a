"""Orders of policies that cannot do what they are for: `penstock check` tells of them, with their place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from config.problems import Path
from config.routes import PolicySpec
from config.schema import Config, Listener, Route
from policies import needs_state
from routing.order import IDENTITY, Link, doubts

Review = tuple[Path, str, bool]
"""Where, what, and whether the configuration cannot be used so."""

_DROPPED = "headers with an underscore are not taken unless a listener says `underscores: allow`"
MANAGED = ("statistics", "repository", "trace", "logging", "shared_memory")
"""The classes of the API with requests that name no model and tell, or change, something of all of them."""


def review(config: Config) -> Iterator[Review]:
    """Each finding once, in the order of the file."""
    yield from dict.fromkeys(
        (*_chains(config), *_without_store(config), *_open_listeners(config), *_underscores(config))
    )


def _chains(config: Config) -> Iterator[Review]:
    for i, listener in enumerate(config.listen):
        front = [(("listen", i, "policies", j), spec) for j, spec in enumerate(listener.policies)]
        for k, route in enumerate(config.routes):
            own = [(("routes", k, "policies", j), spec) for j, spec in enumerate(route.policies)]
            chain = [*front, *own]
            for doubt in doubts([link_of(spec) for _, spec in chain]):
                yield chain[doubt.position][0], doubt.message, doubt.fatal


def _without_store(config: Config) -> Iterator[Review]:
    """Policies that need a store where it is said that there is none."""
    if config.state is None or config.state.url != "none":
        return
    chains = [(kind, i, each.policies) for kind in ("listen", "routes") for i, each in enumerate(getattr(config, kind))]
    for kind, i, chain in chains:
        for j, spec in enumerate(chain):
            if needs_state(spec, config.key_file):
                name = spec.name or spec.kind
                yield (kind, i, "policies", j), f"expected a store for {name}, which needs one, got `state: none`", True


def _open_listeners(config: Config) -> Iterator[Review]:
    if not any(_identifies(route) for route in config.routes):
        return
    for i, listener in enumerate(config.listen):
        told = [each for each in MANAGED if each in listener.apis]
        if told and not _identifies(listener):
            says = "routes ask who calls, but this listener does not"
            yield ("listen", i), f"{says}: its {', '.join(told)} of no model are open to all; give it `policies`", False


def _underscores(config: Config) -> Iterator[Review]:
    """Headers that are asked for and never come."""
    for i, listener in enumerate(config.listen):
        for j, name in enumerate(listener.forward_headers):
            if "_" in name and listener.underscores != "allow":
                yield ("listen", i, "forward_headers", j), f"{name!r} never comes: {_DROPPED}", False
    if any(listener.underscores == "allow" for listener in config.listen):
        return
    for k, route in enumerate(config.routes):
        for path, header in _headers(route):
            if header is not None and "_" in header:
                yield ("routes", k, *path), f"{header!r} never comes: {_DROPPED}", False


def _headers(route: Route) -> Iterator[tuple[Path, str | None]]:
    """The headers that decide where a request goes."""
    for i, rule in enumerate(route.rules):
        yield from ((("rules", i, "when", j, "header"), each.header) for j, each in enumerate(rule.when))
    if route.split is not None and route.split.sticky is not None:
        yield ("split", "sticky", "header"), route.split.sticky.header


def _identifies(owner: Route | Listener) -> bool:
    return any(link_of(spec).is_a(IDENTITY) for spec in owner.policies)


def link_of(spec: PolicySpec) -> Link:
    """What a policy that is written so says of itself."""
    module = import_module(f"policies.{spec.kind}")
    policy = module.Policy
    return Link(
        spec.kind,
        spec.name,
        spec.options,
        frozenset({IDENTITY}) if getattr(policy, "identifies", False) is True else frozenset(),
        getattr(module, "ORDER", ()),
        getattr(policy, "needs_body", False) is True,
    )
