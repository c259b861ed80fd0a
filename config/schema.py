"""The types of a configuration file: what each field means, its unit and its default.

Every type is frozen and compares by value, so a reload can tell what changed. `config.load` makes these from YAML;
durations arrive as seconds and sizes as bytes, whatever unit the operator wrote. The bounds are those of the file:
`config.decode` checks them, and so does msgspec when a `Config` comes over a wire.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from config.fields import HOUR, count, duration, one_or_several, several, size, text

ApiClass = Literal["inference", "metadata", "statistics", "repository", "trace", "logging", "shared_memory"]
DEFAULT_APIS: tuple[ApiClass, ...] = ("inference", "metadata", "statistics")

KIB, MIB = 1024, 1024 * 1024

PoolName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every part of a configuration. `shorthand` is the field that a bare value stands for."""

    shorthand: ClassVar[str | None] = None


class Tls(Node, frozen=True):
    """TLS of a listener. With `client_ca`, clients must present a certificate that it signed."""

    certificate: Annotated[str, text("PEM file: the certificate, then its chain", "path")]
    key: Annotated[str, text("PEM file: the private key, without a passphrase", "path")]
    client_ca: Annotated[str, text("PEM file: who signs the certificates of clients", "path")] | None = None
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
    forward_headers: Annotated[
        tuple[Annotated[str, text("A header name", "header")], ...],
        Meta(description="Request headers, or gRPC metadata, that are passed on to the endpoint"),
    ] = ()


class Admin(Node, frozen=True):
    """The admin port: health, readiness, metrics."""

    shorthand = "address"

    address: Annotated[str, text("Where to listen: a loopback address or a Unix socket", "admin")] = "127.0.0.1:9901"


class Drain(Node, frozen=True):
    """What SIGTERM does: fail readiness for `delay` seconds while still accepting, then wait `timeout` for requests."""

    delay: Annotated[float, duration("How long readiness fails while requests are still accepted", 0, HOUR)] = 1.0
    timeout: Annotated[float, duration("How long requests in flight may take to end after that", 0)] = 30.0


class Endpoint(Node, frozen=True):
    """One Triton: the `host:port` of its gRPC service."""

    shorthand = "address"

    address: Annotated[str, text("The gRPC service of a Triton", "endpoint")]


class Readiness(Node, frozen=True):
    """How control polls the endpoints of a pool, in seconds and consecutive results."""

    interval: Annotated[float, duration("From one poll to the next", 0.01, HOUR)] = 1.0
    timeout: Annotated[float, duration("How long one poll may take", 0.01, HOUR)] = 2.0
    failures: Annotated[int, count("Failed polls in a row that take an endpoint out", high=1000)] = 2
    successes: Annotated[int, count("Good polls in a row that bring it back", high=1000)] = 1


class Pool(Node, frozen=True):
    """Endpoints of one kind and how one of them is chosen."""

    endpoints: Annotated[tuple[Endpoint, ...], several("The Tritons of the pool")]
    kind: Annotated[Literal["triton"], Meta(description="What the endpoints are")] = "triton"
    pick: Annotated[str, text("How one of the ready endpoints is chosen", "picker")] = "least_inflight"
    readiness: Readiness = Readiness()
    connections: Annotated[int, count("Connections of one worker process to each endpoint", high=256)] = 1
    connect_timeout: Annotated[float, duration("How long connecting may take", high=HOUR)] = 2.0
    message_bytes: Annotated[int, size("One gRPC message from an endpoint", KIB, 2**31 - 1)] = 2**31 - 1


class Match(Node, frozen=True):
    """Which requests a route takes: model names or globs (`*`, `?`, `[a-z]`)."""

    model: Annotated[
        tuple[Annotated[str, text("A model name or a glob", "pattern")], ...],
        one_or_several("Names or globs; one needs no list"),
    ]


class Target(Node, frozen=True):
    """Where a route sends: a pool, and the version when the client names none."""

    shorthand = "pool"

    pool: Annotated[str, text("The name of a pool")]
    version: Annotated[str, text("The version for requests that name none", "version")] | None = None


class Route(Node, frozen=True):
    """Requests for some models, and where they go. `timeout` in seconds bounds a call at the worker."""

    match: Match
    to: Target
    name: Annotated[str, text("What logs and metrics call it; the first pattern if not given")] = ""
    timeout: Annotated[float, duration("How long a call to the endpoint may take")] | None = None


class Config(Node, frozen=True):
    """A whole configuration file."""

    listen: Annotated[tuple[Listener, ...], several("The ports for clients")]
    pools: Annotated[dict[PoolName, Pool], several("Groups of endpoints, by name")]
    routes: Annotated[tuple[Route, ...], several("Which model goes where; the first route that matches takes it")]
    admin: Admin = Admin()
    workers: Annotated[int, count("Worker processes; auto is one per core", 0, 1024)] | Literal["auto"] = "auto"
    drain: Drain = Drain()
    state_directory: Annotated[str, text("Where the gateway keeps its own files", "path")] | None = None
