"""The types of `pools:` in a configuration file: endpoints, how they are found, watched and chosen, what they load."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from config.fields import DAY, HOUR, KIB, MIB, count, duration, if_given, items, number, one_or_several, size, text
from config.node import Node

TIB = 1024**4

VariableName = Annotated[str, text("The name of a variable", "variable")]
VariableValue = Annotated[str, text("Its value", "setting")]


class Endpoint(Node, frozen=True):
    """One Triton: the `host:port` of its gRPC service, and of its metrics page if that is elsewhere than the pool says.
    An endpoint of weight 2 gets twice the load of one of weight 1."""

    shorthand = "address"

    address: Annotated[str, text("The gRPC service of a Triton", "endpoint")]
    metrics: (
        Annotated[str, text("Its Prometheus page, when host or port are not those of the pool", "endpoint")] | None
    ) = None
    weight: Annotated[float, number("Its share of the load beside others", 0.001, 1000)] = 1.0


class Readiness(Node, frozen=True):
    """How control polls the endpoints of a pool, in seconds and consecutive results."""

    interval: Annotated[float, duration("From one poll to the next", 0.01, HOUR)] = 1.0
    timeout: Annotated[float, duration("How long one poll may take", 0.01, HOUR)] = 2.0
    failures: Annotated[int, count("Failed polls in a row that take an endpoint out", high=1000)] = 2
    successes: Annotated[int, count("Good polls in a row that bring it back", high=1000)] = 1


class Metrics(Node, frozen=True):
    """How control reads the queues of the endpoints: the port of their Prometheus pages, and how often. An endpoint
    without a page is asked ever more rarely; its queue is then what this gateway sent."""

    port: Annotated[int, count("The port of the Prometheus page", high=65535)] = 8002
    path: Annotated[str, text("The path of the page", "url_path")] = "/metrics"
    interval: Annotated[float, duration("From one look to the next", 0.02, HOUR)] = 0.15
    timeout: Annotated[float, duration("How long one look may take", 0.01, HOUR)] = 1.0


class Discover(Node, frozen=True):
    """Endpoints by DNS: all addresses of `dns`, or what the SRV records of `srv` name; one of the two. Asked again when
    the records' TTL is over, within the bounds."""

    one_of = ("dns", "srv")

    dns: Annotated[str, text("Name and port; each A and AAAA record is an endpoint", "endpoint")] | None = None
    srv: Annotated[str, text("A name with SRV records, such as _grpc._tcp.triton.example", "dns_name")] | None = None
    nameserver: (
        Annotated[str, text("IP address and port of the server to ask; those of the system if not given", "nameserver")]
        | None
    ) = None
    min_interval: Annotated[float, duration("No more often than this", 0.1, HOUR)] = 1.0
    max_interval: Annotated[float, duration("No more rarely than this", 0.1, HOUR)] = 30.0


class Pick(Node, frozen=True):
    """How one of the ready endpoints is chosen. `by` and `bound` are for `hash_ring`: what the same endpoint is wanted
    for, and how far above the mean load it may go before a neighbour takes over."""

    shorthand = "kind"

    kind: Annotated[str, text("The name of a picker", "picker")] = "expected_wait"
    by: Annotated[str, text("What is hashed: header:NAME, principal, sequence or body", "hash_key")] = "body"
    bound: Annotated[float, number("Load of one endpoint against the mean", 1.0, 100.0)] = 1.25


class Outliers(Node, frozen=True):
    """When an endpoint is passed over for a model because calls to it failed, by a fault of its own: `consecutive` in a
    row, or fewer than `success` of the last ten seconds' calls when these were `requests` at least. Out for `base`
    seconds times the number of ejections in a row, at most `max`; then one request tries it. At most `max_ejected` of a
    pool is out at once; when less than `panic` of it is left, failures are ignored."""

    consecutive: Annotated[int, count("Failures in a row that eject", high=1000)] = 5
    success: Annotated[float, number("The least share of good calls", 0.0, 1.0)] = 0.5
    requests: Annotated[int, count("Calls in ten seconds below which the share is not looked at", high=100_000)] = 20
    base: Annotated[float, duration("The first ejection", 0.01, HOUR)] = 5.0
    max: Annotated[float, duration("The longest ejection", 0.01, HOUR)] = 300.0
    max_ejected: Annotated[float, number("The largest share of a pool that may be out", 0.0, 1.0)] = 0.5
    panic: Annotated[float, number("The share of a pool below which failures are ignored", 0.0, 1.0)] = 0.3


class Managed(Node, frozen=True):
    """Tritons that the gateway starts itself. `gpus` lists the devices of each replica in turn, such as 0 or "0,1";
    without it, none are hidden. `command` is what runs a Triton; the rest of its arguments are added."""

    repository: Annotated[
        tuple[Annotated[str, text("A model repository", "path")], ...], one_or_several("Folders with models")
    ]
    replicas: Annotated[int, count("How many to run", high=256)] = 1
    command: Annotated[
        tuple[Annotated[str, text("A word of the command", "value")], ...],
        if_given("What runs a Triton", bare_item=True),
    ] = ("tritonserver",)
    arguments: Annotated[
        tuple[Annotated[str, text("An argument", "value")], ...], items("Further arguments, such as --log-verbose=1")
    ] = ()
    environment: Annotated[dict[VariableName, VariableValue], items("Variables beside those of the gateway")] = (
        msgspec.field(default_factory=dict)
    )
    gpus: Annotated[
        tuple[Annotated[str, text("The devices of one replica", "devices")], ...],
        items("CUDA_VISIBLE_DEVICES of each replica in turn"),
    ] = ()
    host: Annotated[str, text("The address that it binds", "host")] = "127.0.0.1"
    ports: Annotated[int, count("The first port to try; any free one when 0", 0, 65000)] = 0
    start_timeout: Annotated[float, duration("How long it may take to be ready", 0.1, HOUR)] = 120.0
    drain_timeout: Annotated[float, duration("How long requests may take to end before it is stopped", 0, HOUR)] = 30.0
    backoff: Annotated[float, duration("The wait before the first restart; it doubles", 0.01, HOUR)] = 0.5
    max_backoff: Annotated[float, duration("The longest wait before a restart", 0.01, HOUR)] = 30.0
    crash_loop: Annotated[int, count("Ends in ten minutes that are called a crash loop", high=1000)] = 5
    hung_after: (
        Annotated[float, duration("It is replaced when it runs but has not answered for so long", 1, DAY)] | None
    ) = 60.0


class DesiredModel(Node, frozen=True):
    """A model that is to be loaded, with an override of its configuration (JSON, as in Triton's load request)."""

    shorthand = "name"

    name: Annotated[str, text("The name of a model", "model")]
    config: Annotated[str, text("Its configuration as JSON, in place of config.pbtxt", "json")] | None = None


class Models(Node, frozen=True):
    """What the endpoints of a pool have loaded. `repository`: whatever they load themselves. `explicit`: those in
    `load`, no others are touched. `on_demand`: those in `load` always, any other of the repository at its first
    request, as long as there is room; the least recently used makes room for the next."""

    mode: Annotated[Literal["repository", "explicit", "on_demand"], Meta(description="Who decides what is loaded")] = (
        "repository"
    )
    load: Annotated[tuple[DesiredModel, ...], items("Models that are loaded always")] = ()
    max_loaded: Annotated[int, count("Models loaded at once on one endpoint", high=100_000)] = 16
    memory: Annotated[int, size("Memory for models on one endpoint", high=1024 * TIB)] | None = None
    idle_unload: Annotated[float, duration("Unload what nobody asked for so long", 0.1, DAY)] | None = None
    load_timeout: Annotated[float, duration("How long one load may take", 0.1, HOUR)] = 120.0
    failure_backoff: Annotated[float, duration("How long a failed load is not tried again; it doubles", 0.1, HOUR)] = (
        5.0
    )
    waiting_requests: Annotated[int, count("Requests that may wait for loads", high=1_000_000)] = 1000
    waiting_bytes: Annotated[int, size("Bytes of these", high=64 * 1024 * MIB)] = 256 * MIB
    spread_wait: Annotated[float, duration("Expected wait above which a model is loaded once more", 0.001, HOUR)] = 0.5


class Pool(Node, frozen=True):
    """Endpoints of one kind and how one of them is chosen. Exactly one of `endpoints`, `discover` and `managed`."""

    one_of = ("endpoints", "discover", "managed")

    endpoints: Annotated[tuple[Endpoint, ...], if_given("The Tritons of the pool")] = ()
    discover: Discover | None = None
    managed: Managed | None = None
    kind: Annotated[Literal["triton"], Meta(description="What the endpoints are")] = "triton"
    pick: Pick = Pick()
    models: Models = Models()
    readiness: Readiness = Readiness()
    metrics: Metrics = Metrics()
    outliers: Outliers = Outliers()
    slow_start: Annotated[float, duration("How long an endpoint that comes back gets less than its share", 0, HOUR)] = (
        10.0
    )
    sequence_idle: Annotated[float, duration("How long a sequence may pause before it is forgotten", 0.1, DAY)] = 60.0
    connections: Annotated[int, count("Connections of one worker process to each endpoint", high=256)] = 1
    connect_timeout: Annotated[float, duration("How long connecting may take", high=HOUR)] = 2.0
    message_bytes: Annotated[int, size("One gRPC message from an endpoint", KIB, 2**31 - 1)] = 2**31 - 1
