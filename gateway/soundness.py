"""Orders of policies that cannot do what they are for: `penstock check` tells of them, with their place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from config.problems import Path
from config.routes import PolicySpec
from config.schema import Config, Listener, Route
from routing.order import IDENTITY, Link, doubts

Review = tuple[Path, str, bool]
"""Where, what, and whether the configuration cannot be used so."""

MANAGED = ("statistics", "repository", "trace", "logging", "shared_memory")
"""The classes of the API with requests that name no model and tell, or change, something of all of them."""


def review(config: Config) -> Iterator[Review]:
    """Each finding once, in the order of the file."""
    yield from dict.fromkeys((*_chains(config), *_open_listeners(config)))


def _chains(config: Config) -> Iterator[Review]:
    for i, listener in enumerate(config.listen):
        front = [(("listen", i, "policies", j), spec) for j, spec in enumerate(listener.policies)]
        for k, route in enumerate(config.routes):
            own = [(("routes", k, "policies", j), spec) for j, spec in enumerate(route.policies)]
            chain = [*front, *own]
            for doubt in doubts([link_of(spec) for _, spec in chain]):
                yield chain[doubt.position][0], doubt.message, doubt.fatal


def _open_listeners(config: Config) -> Iterator[Review]:
    if not any(_identifies(route) for route in config.routes):
        return
    for i, listener in enumerate(config.listen):
        told = [each for each in MANAGED if each in listener.apis]
        if told and not _identifies(listener):
            says = "routes ask who calls, but this listener does not"
            yield ("listen", i), f"{says}: its {', '.join(told)} of no model are open to all; give it `policies`", False


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
