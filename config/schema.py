"""The types of a configuration file: what each field means, its unit and its default.

Every type is frozen and compares by value, so a reload can tell what changed. `config.load` makes these from YAML;
durations arrive as seconds and sizes as bytes, whatever unit the operator wrote. The bounds are those of the file:
`config.decode` checks them, and so does msgspec when a `Config` comes over a wire.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from config.fields import HOUR, KIB, MIB, count, duration, flag, items, several, size, text
from config.node import NAME, Node
from config.pools import DesiredModel, Discover, Endpoint, Managed, Metrics, Models, Outliers, Pick, Pool, Readiness
from config.routes import (
    Condition,
    Match,
    PolicySpec,
    Route,
    Rule,
    Split,
    Sticky,
    Target,
    Variant,
)
from config.state import State

__all__ = [
    "Admin", "ApiClass", "Condition", "Config", "Deadlines", "DesiredModel", "Discover", "Drain", "Endpoint", "Limits",
    "Listener", "Managed", "Match", "Metrics", "Models", "Node", "Outliers", "Pick", "PolicySpec", "Pool", "PoolName",
    "Readiness", "Route", "Rule", "Split", "State", "Sticky", "Target", "Tls", "Variant",
]  # fmt: skip

ApiClass = Literal["inference", "metadata", "statistics", "repository", "trace", "logging", "shared_memory"]
DEFAULT_APIS: tuple[ApiClass, ...] = ("inference", "metadata", "statistics")

PoolName = Annotated[str, Meta(pattern=NAME)]
PolicyName = Annotated[str, Meta(pattern=NAME)]
ModelName = Annotated[str, text("The name of a model", "model")]
Label = Annotated[str, text("A name for a version", "label")]


class Tls(Node, frozen=True):
    """TLS of a listener. With `client_ca`, clients must present a certificate that it signed, or may, as
    `client_certificate` says."""

    certificate: Annotated[str, text("PEM file: the certificate, then its chain", "path")]
    key: Annotated[str, text("PEM file: the private key, without a passphrase", "path")]
    client_ca: Annotated[str, text("PEM file: who signs the certificates of clients", "path")] | None = None
    client_certificate: Annotated[
        Literal["required", "optional"],
        Meta(description="Whether clients may come without one; what identifies them otherwise, policies say"),
    ] = "required"
    min_version: Annotated[Literal["1.2", "1.3"], Meta(description="The oldest TLS version that is accepted")] = "1.2"


class Limits(Node, frozen=True):
    """Upper bounds of a listener. Sizes in bytes; `connections` is per worker process."""

    header_bytes: Annotated[int, size("Request line and headers together", 256, 16 * MIB)] = 32 * KIB
    headers: Annotated[int, count("Header fields of one request", high=10_000)] = 128
    body_bytes: Annotated[int, size("A request's body as it arrives")] = 64 * MIB
    inflated_bytes: Annotated[int, size("A compressed body once it is inflated")] = 64 * MIB
    buffered_bytes: Annotated[int, size("Request bodies one worker holds at once", high=64 * 1024 * MIB)] = 1024 * MIB
    connections: Annotated[int, count("Open connections of one worker process")] = 20_000
    connections_per_address: Annotated[int, count("Of these, from one client address")] | None = None
    streams: Annotated[int, count("HTTP/2 streams open at once on a connection", high=100_000)] = 128
    pipelined: Annotated[int, count("HTTP/1.1 requests waiting on a connection", high=10_000)] = 16
    requests_per_connection: Annotated[int, count("Requests until a connection closes", high=10**9)] | None = None


class Deadlines(Node, frozen=True):
    """How long a client may take, in seconds. `request` bounds one request as a whole, None leaves it to the client."""

    handshake: Annotated[float, duration("The TLS handshake")] = 10.0
    header: Annotated[float, duration("From a request's first byte to the end of its headers")] = 10.0
    body: Annotated[float, duration("From there to the end of the body")] = 60.0
    idle: Annotated[float, duration("A connection without a request")] = 300.0
    write_stall: Annotated[float, duration("A client that takes none of its answer")] = 30.0
    request: Annotated[float, duration("One request as a whole; none leaves it to the client")] | None = None


class Listener(Node, frozen=True):
    """One port that serves REST and gRPC, HTTP/1.1 and HTTP/2."""

    address: Annotated[str, text("Where to listen", "address")]
    name: Annotated[str, text("What logs and metrics call it; the address if not given")] = ""
    tls: Tls | None = None
    apis: Annotated[tuple[ApiClass, ...], several("The classes of Triton's API that it serves")] = DEFAULT_APIS
    limits: Limits = Limits()
    deadlines: Deadlines = Deadlines()
    tell_route: Annotated[
        bool, flag("Whether answers say in headers, or metadata, which route, variant and version they came from")
    ] = True
    forward_headers: Annotated[
        tuple[Annotated[str, text("A header name", "header")], ...],
        Meta(description="Request headers, or gRPC metadata, that are passed on to the endpoint"),
    ] = ()
    policies: Annotated[
        tuple[PolicySpec, ...], items("What happens around all calls that come here, before what their route says")
    ] = ()
    trusted_proxies: Annotated[
        tuple[Annotated[str, text("An address or a network", "network")], ...],
        Meta(description="Proxies in front, of which `X-Forwarded-For` is believed where the client is"),
    ] = ()
    underscores: Annotated[
        Literal["reject", "drop", "allow"],
        Meta(description="What becomes of headers with an underscore in their name, which some take for a hyphen"),
    ] = "drop"
    guard_health: Annotated[bool, flag("Whether questions about health pass `policies` too")] = False


class Admin(Node, frozen=True):
    """The admin port: health, readiness, metrics."""

    shorthand = "address"

    address: Annotated[str, text("Where to listen: a loopback address or a Unix socket", "admin")] = "127.0.0.1:9901"


class Drain(Node, frozen=True):
    """What SIGTERM does: fail readiness for `delay` seconds while still accepting, then wait `timeout` for requests."""

    delay: Annotated[float, duration("How long readiness fails while requests are still accepted", 0, HOUR)] = 1.0
    timeout: Annotated[float, duration("How long requests in flight may take to end after that", 0)] = 30.0


class Config(Node, frozen=True):
    """A whole configuration file."""

    listen: Annotated[tuple[Listener, ...], several("The ports for clients")]
    pools: Annotated[dict[PoolName, Pool], several("Groups of endpoints, by name")]
    routes: Annotated[tuple[Route, ...], several("Which model goes where; the first route that matches takes it")]
    policies: Annotated[dict[PolicyName, PolicySpec], items("Policies that routes share, by name")] = msgspec.field(
        default_factory=dict
    )
    labels: Annotated[
        dict[ModelName, dict[Label, Annotated[str, text("A version", "version")]]],
        items("Names for versions, by model: {resnet50: {stable: 2}}"),
    ] = msgspec.field(default_factory=dict)
    admin: Admin = Admin()
    workers: Annotated[int, count("Worker processes; auto is one per core", 0, 1024)] | Literal["auto"] = "auto"
    drain: Drain = Drain()
    state: State | None = None
    key_file: Annotated[str, text("A file with API keys, followed when it changes", "path")] | None = None
    state_directory: Annotated[str, text("Where the gateway keeps its own files", "path")] | None = None
