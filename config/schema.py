"""The types of a configuration file: what each field means, its unit and its default.

Every type is frozen and compares by value, so a reload can tell what changed. `config.load` makes these from YAML;
durations arrive as seconds and sizes as bytes, whatever unit the operator wrote.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ApiClass = Literal["inference", "metadata", "statistics", "repository", "trace", "logging", "shared_memory"]
DEFAULT_APIS: tuple[ApiClass, ...] = ("inference", "metadata", "statistics")

KIB, MIB = 1024, 1024 * 1024


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every part of a configuration."""


class Tls(Node):
    """TLS of a listener. With `client_ca`, clients must present a certificate that it signed."""

    certificate: str
    key: str
    client_ca: str | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"


class Limits(Node):
    """Upper bounds of a listener. Sizes in bytes; `connections` is per worker process."""

    header_bytes: int = 32 * KIB
    headers: int = 128
    body_bytes: int = 64 * MIB
    inflated_bytes: int = 64 * MIB
    buffered_bytes: int = 1024 * MIB
    connections: int = 20_000
    connections_per_address: int | None = None
    streams: int = 128
    pipelined: int = 16
    requests_per_connection: int | None = None


class Deadlines(Node):
    """How long a client may take, in seconds. `request` bounds one request as a whole, None leaves it to the client."""

    handshake: float = 10.0
    header: float = 10.0
    body: float = 60.0
    idle: float = 300.0
    write_stall: float = 30.0
    request: float | None = None


class Listener(Node):
    """One port that serves REST and gRPC, HTTP/1.1 and HTTP/2."""

    address: str
    name: str = ""
    tls: Tls | None = None
    apis: tuple[ApiClass, ...] = DEFAULT_APIS
    limits: Limits = Limits()
    deadlines: Deadlines = Deadlines()
    forward_headers: tuple[str, ...] = ()


class Admin(Node):
    """The admin port: health, readiness, metrics."""

    address: str = "127.0.0.1:9901"


class Drain(Node):
    """What SIGTERM does: fail readiness for `delay` seconds while still accepting, then let requests end for `timeout`."""

    delay: float = 1.0
    timeout: float = 30.0


class Endpoint(Node):
    """One Triton: the `host:port` of its gRPC service."""

    address: str


class Readiness(Node):
    """How control polls the endpoints of a pool, in seconds and consecutive results."""

    interval: float = 1.0
    timeout: float = 2.0
    failures: int = 2
    successes: int = 1


class Pool(Node):
    """Endpoints of one kind and how one of them is chosen."""

    endpoints: tuple[Endpoint, ...]
    kind: Literal["triton"] = "triton"
    pick: str = "least_inflight"
    readiness: Readiness = Readiness()
    connections: int = 1
    connect_timeout: float = 2.0
    message_bytes: int = 2**31 - 1


class Match(Node):
    """Which requests a route takes: model names or globs (`*`, `?`, `[a-z]`)."""

    model: tuple[str, ...]


class Target(Node):
    """Where a route sends: a pool, and the version when the client names none."""

    pool: str
    version: str | None = None


class Route(Node):
    """Requests for some models, and where they go. `timeout` in seconds bounds a call at the worker."""

    match: Match
    to: Target
    name: str = ""
    timeout: float | None = None


class Config(Node):
    """A whole configuration file."""

    listen: tuple[Listener, ...]
    pools: dict[str, Pool]
    routes: tuple[Route, ...]
    admin: Admin = Admin()
    workers: int | Literal["auto"] = "auto"
    drain: Drain = Drain()
    state_directory: str | None = None
