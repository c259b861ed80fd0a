"""The types of `routes:` in a configuration file: which requests, by which rules or shares, to which pool and version."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from config.fields import count, duration, one_or_several, several, text
from config.node import Node

VariantName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Pattern = Annotated[str, text("A model name or a glob", "pattern")]
HeaderName = Annotated[str, text("A header, or gRPC metadata", "any_header")]


class Match(Node, frozen=True):
    """Which requests a route takes: model names or globs (`*`, `?`, `[a-z]`)."""

    model: Annotated[tuple[Pattern, ...], one_or_several("Names or globs; one needs no list")]


class Target(Node, frozen=True):
    """Where a request is sent. `model` is asked for in place of the client's. `version` is for requests that name none:
    a number, `latest` (the highest that is READY wherever the model is wanted), or a label of `labels:`."""

    shorthand = "pool"

    pool: Annotated[str, text("The name of a pool")]
    model: Annotated[str, text("The model to ask for; that of the request if not given")] | None = None
    version: Annotated[str, text("A version, `latest` or a label", "version_or_label")] | None = None


class Condition(Node, frozen=True):
    """What must hold of a request. Of `header`, one of `equals`, `prefix`, `regex`, `in` and `present`; the other fields
    stand alone or together, and then all must hold. `regex` is matched in linear time against the whole value."""

    header: HeaderName | None = None
    equals: Annotated[str, text("The value")] | None = None
    prefix: Annotated[str, text("How the value begins")] | None = None
    regex: Annotated[str, text("A regular expression for the whole value", "regex")] | None = None
    in_: tuple[Annotated[str, text("A value")], ...] = ()
    present: bool | None = None
    api: Annotated[Literal["rest", "grpc"], Meta(description="How the client speaks")] | None = None
    method: Annotated[Literal["infer", "stream", "generate"], Meta(description="What the client calls")] | None = None
    principal: Annotated[tuple[Pattern, ...], one_or_several("Who calls: names or globs")] = ()
    model: Annotated[tuple[Pattern, ...], one_or_several("The model: names or globs")] = ()


class Rule(Node, frozen=True):
    """Requests of a route for which all conditions hold go elsewhere. The first rule that fits decides."""

    when: Annotated[tuple[Condition, ...], one_or_several("One condition, or several that must all hold")]
    to: Target
    name: Annotated[str, text("What headers and logs call it; its place if not given")] = ""


class Sticky(Node, frozen=True):
    """What keeps a client with its variant: the value of a header or cookie, its principal, or its address. Requests
    without it are spread by chance."""

    header: HeaderName | None = None
    cookie: Annotated[str, text("The name of a cookie")] | None = None
    principal: bool = False
    address: bool = False


class Variant(Node, frozen=True):
    """One share of a split. Weights are relative; 0 gets nothing."""

    pool: Annotated[str, text("The name of a pool")]
    model: Annotated[str, text("The model to ask for; that of the request if not given")] | None = None
    version: Annotated[str, text("A version, `latest` or a label", "version_or_label")] | None = None
    weight: Annotated[int, count("Its share beside the other variants", 0, 1_000_000)] = 1


class Split(Node, frozen=True):
    """Shares of a route's requests. `salt` makes the shares of two routes independent; the route's name if not given."""

    variants: dict[VariantName, Variant]
    sticky: Sticky | None = None
    salt: Annotated[str, text("What makes shares independent of another split's")] = ""


class PolicySpec(Node, frozen=True):
    """A policy of a route: its kind, and its options as that kind's own type read them. `name` is that of the shared
    policy it stands for, "" for one of its own."""

    kind: str
    options: dict[str, Any] = {}
    name: str = ""


class Route(Node, frozen=True):
    """Requests for some models, and where they go: by the first rule that fits, else by the split, else to `to`.
    `timeout` in seconds bounds a call at the worker. `policies` are what happens around it, from the outside in."""

    match: Match
    to: Target | None = None
    name: Annotated[str, text("What logs and metrics call it; the first pattern if not given")] = ""
    rules: tuple[Rule, ...] = ()
    split: Split | None = None
    policies: tuple[PolicySpec, ...] = ()
    timeout: Annotated[float, duration("How long a call to the endpoint may take")] | None = None
