"""The types of `routes:` in a configuration file: which requests go to which pool and version, by rules or shares."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from config.fields import count, duration, flag, if_given, items, one_or_several, several, text
from config.node import NAME, Node

Name = Annotated[str, Meta(pattern=NAME)]
Pattern = Annotated[str, text("A model name or a glob", "pattern")]
HeaderName = Annotated[str, text("A header, or gRPC metadata", "any_header")]
TargetVersion = Annotated[str, text("For requests that name no version: a number, latest or a label", "target_version")]


class Match(Node, frozen=True):
    """Which requests a route takes: model names or globs (`*`, `?`, `[a-z]`)."""

    model: Annotated[tuple[Pattern, ...], one_or_several("Names or globs; one needs no list")]


class Target(Node, frozen=True):
    """Where a request is sent. `model` is asked for in place of the client's. `version` is for requests that name none:
    a number, `latest` (the highest that is READY wherever the model is wanted), or a label of `labels:`."""

    shorthand = "pool"

    pool: Annotated[str, text("The name of a pool")]
    model: Annotated[str, text("The model to ask for; that of the request if not given", "model")] | None = None
    version: TargetVersion | None = None


class Condition(Node, frozen=True):
    """What must hold of a request. Of `header`, one of `equals`, `prefix`, `regex`, `in` and `present`; the other
    fields stand alone or together, and then all must hold. `regex` is matched by RE2, in linear time."""

    header: HeaderName | None = None
    equals: Annotated[str, text("The whole value", "value")] | None = None
    prefix: Annotated[str, text("How the value begins", "value")] | None = None
    regex: Annotated[str, text("An expression of RE2 that the whole value matches", "regex")] | None = None
    in_: Annotated[
        tuple[Annotated[str, text("The whole value", "value")], ...], if_given("One of these is the whole value")
    ] = msgspec.field(default=(), name="in")
    present: Annotated[bool, flag("Whether the header is there")] | None = None
    api: Annotated[Literal["rest", "grpc"], Meta(description="How the client speaks")] | None = None
    method: Annotated[Literal["infer", "stream", "generate"], Meta(description="What the client calls")] | None = None
    principal: Annotated[tuple[Pattern, ...], if_given("Who calls: names or globs", bare_item=True)] = ()
    model: Annotated[tuple[Pattern, ...], if_given("The model: names or globs", bare_item=True)] = ()


class Rule(Node, frozen=True):
    """Requests of a route for which all conditions hold go elsewhere. The first rule that fits decides."""

    when: Annotated[tuple[Condition, ...], one_or_several("One condition, or several that must all hold")]
    to: Target
    name: Annotated[str, text("What headers and logs call it; its place, such as rules[0], if not given")] = ""


class Sticky(Node, frozen=True):
    """What keeps a client with its variant: the value of a header or cookie, its principal, or its address. Requests
    without it are spread by chance."""

    one_of = ("header", "cookie", "principal", "address")

    header: HeaderName | None = None
    cookie: Annotated[str, text("The name of a cookie", "cookie")] | None = None
    principal: Annotated[bool, flag("Who calls")] = False
    address: Annotated[bool, flag("The address that the client connects from")] = False


class Variant(Node, frozen=True):
    """One share of a split. Weights are relative; 0 gets nothing."""

    pool: Annotated[str, text("The name of a pool")]
    model: Annotated[str, text("The model to ask for; that of the request if not given", "model")] | None = None
    version: TargetVersion | None = None
    weight: Annotated[int, count("Its share beside the other variants", 0, 1_000_000)] = 1


class Split(Node, frozen=True):
    """Shares of a route's requests. `salt` makes those of two routes independent; the route's name if not given."""

    variants: Annotated[dict[Name, Variant], several("The shares, by name")]
    sticky: Sticky | None = None
    salt: Annotated[str, text("What makes shares independent of another split's")] = ""


class PolicySpec(Node, frozen=True):
    """A policy of a route: its kind, and its options as that kind's own type read them. `name` is that of the shared
    policy it stands for, "" for one of its own."""

    kind: Annotated[str, text("What it does", "policy")]
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    name: str = ""


class Route(Node, frozen=True):
    """Requests for some models, and where they go: by the first rule that fits, else by the split or to `to`. `timeout`
    in seconds bounds a call at the worker. `policies` are what happens around it, from the outside in."""

    one_of = ("to", "split")

    match: Match
    to: Target | None = None
    name: Annotated[str, text("What logs and metrics call it; the first pattern if not given")] = ""
    rules: Annotated[tuple[Rule, ...], items("Exceptions; the first that fits decides")] = ()
    split: Split | None = None
    policies: Annotated[tuple[PolicySpec, ...], items("Names of shared policies, or policies of its own")] = ()
    timeout: Annotated[float, duration("How long a call to the endpoint may take")] | None = None

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of all pools that requests may be sent to, each once, in the order of the file."""
        default = [self.to] if self.to else []
        shares = self.split.variants.values() if self.split else ()
        targets = [each.pool for each in (*default, *(rule.to for rule in self.rules), *shares)]
        return tuple(dict.fromkeys([*targets, *self.stand_ins]))

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """The names of the pools that requests are sent to when no endpoint of another one can take them."""
        fallbacks = [each.options for each in self.policies if each.kind == "fallback"]
        return tuple(each["to"]["pool"] for each in fallbacks if "unavailable" in each["when"])
