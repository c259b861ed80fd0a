"""Every metric that Penstock has: one row each, in the order of `/metrics`.

Names and units follow https://prometheus.io/docs/practices/naming/. A new metric is a row here and a cell where the
fact is known. OpenMetrics strips `_total` from a counter's family, so no gauge may have the name that remains.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]

DEFAULT_LIMIT = 1_000
ENDPOINT_LIMIT = 4_096

LATENCY_BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds in seconds. A small model's call through the gateway takes one to five milliseconds, a large language
model's a minute."""
LOAD_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds in seconds: a small model loads in a tenth of a second, a large one in minutes."""

STATE_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
"""Upper bounds in seconds: a store on the same machine answers in 50 µs; requests wait 20 ms by default."""


class Family(msgspec.Struct, frozen=True):
    """One metric: its label names and, for a histogram, the upper bounds of its buckets in the metric's unit.

    `limit` is how many label sets a process keeps; what comes after folds into one whose values are all "other".
    `merge` says how the gauges of several workers become one.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    limit: int = DEFAULT_LIMIT
    merge: Literal["sum", "max"] = "sum"


def _endpoint(name: str, kind: Kind, text: str, *more: str) -> Family:
    return Family(name, kind, text, ("pool", "endpoint", *more), limit=ENDPOINT_LIMIT)


_TABLE = (
    Family(
        "penstock_requests_total",
        "counter",
        "Requests answered, by route, and by variant where it has rules or a split.",
        ("route", "api", "code", "variant"),
    ),
    Family(
        "penstock_request_duration_seconds",
        "histogram",
        "From the first byte of a request to the last byte of its reply.",
        ("route", "variant"),
        LATENCY_BOUNDS,
    ),
    Family("penstock_inflight", "gauge", "Requests being served now, by route.", ("route",)),
    Family("penstock_refused_total", "counter", "Requests and connections refused by the gateway itself.", ("reason",)),
    Family(
        "penstock_retries_total",
        "counter",
        "Calls sent again, by whose fault the first failure was.",
        ("route", "reason"),
    ),
    Family("penstock_retries_refused_total", "counter", "Calls not sent again for want of budget.", ("route",)),
    Family(
        "penstock_hedges_total",
        "counter",
        "Second requests for slow calls: won, lost, failed, or refused.",
        ("route", "result"),
    ),
    Family(
        "penstock_mirrored_total",
        "counter",
        "Copies of calls for a mirror, by what became of them.",
        ("route", "outcome"),
    ),
    Family(
        "penstock_fallbacks_total",
        "counter",
        "Calls sent to a fallback, by what the first place lacked.",
        ("route", "reason"),
    ),
    Family(
        "penstock_rate_limit_total",
        "counter",
        "Calls beyond a rate limit: refused, or let through (shadow). Calls, or settlings, without an answer of the "
        "store: counted by the node (local), let through (open), refused (closed), unsettled.",
        ("policy", "result"),
    ),
    Family("penstock_concurrency_in_flight", "gauge", "Calls that have a permit of the policy now.", ("policy",)),
    Family("penstock_concurrency_waiting", "gauge", "Calls that wait for a permit now.", ("policy", "class")),
    Family(
        "penstock_concurrency_waits_total",
        "counter",
        "Calls that had to wait for a permit: had it (run), came too late for one, were shed for a more urgent one, "
        "cancelled by their clients, or found the queue full.",
        ("policy", "class", "result"),
    ),
    Family(
        "penstock_cache_requests_total",
        "counter",
        "Calls that came to a cache: hit, hit_store (in the shared store), stale, shared (with another), miss, bypass.",
        ("route", "result"),
    ),
    Family("penstock_cache_bytes", "gauge", "Bytes of answers in the caches of the workers."),
    Family("penstock_cache_entries", "gauge", "Answers in the caches of the workers."),
    Family("penstock_cache_evictions_total", "counter", "Answers that left a worker's cache for want of room."),
    Family(
        "penstock_cache_refreshes_total", "counter", "Stale answers got anew behind the client's back.", ("result",)
    ),
    Family(
        "penstock_cache_store_total",
        "counter",
        "What a cache met in the shared store: failed (away, slow, full) or garbage (no entry of ours).",
        ("result",),
    ),
    Family(
        "penstock_unauthenticated_total",
        "counter",
        "Requests refused since it is not known who calls, by the kind of policy and why.",
        ("kind", "reason"),
    ),
    Family(
        "penstock_key_sets_read_total",
        "counter",
        "Readings of the keys that tokens are signed with, ok or failed.",
        ("result",),
    ),
    Family(
        "penstock_forbidden_total",
        "counter",
        "Requests that their caller has no right to: refused (enforce), or only counted (shadow).",
        ("route", "mode"),
    ),
    Family("penstock_connections", "gauge", "Client connections open now.", ("listener", "protocol")),
    Family("penstock_connections_accepted_total", "counter", "Client connections accepted.", ("listener", "protocol")),
    Family("penstock_streams", "gauge", "HTTP/2 streams open now.", ("listener",)),
    Family("penstock_buffered_bytes", "gauge", "Bytes of bodies and replies held for clients now.", ("listener",)),
    Family("penstock_bytes_received_total", "counter", "Bytes read from clients.", ("listener",)),
    Family("penstock_bytes_sent_total", "counter", "Bytes written to clients.", ("listener",)),
    _endpoint("penstock_upstream_requests_total", "counter", "Calls to an endpoint, by how they ended.", "outcome"),
    _endpoint("penstock_endpoint_inflight", "gauge", "Calls at an endpoint now."),
    Family(
        "penstock_offered_seconds_total",
        "counter",
        "Work sent to the endpoints of a pool, in seconds, by what such requests take there.",
        ("pool",),
    ),
    _endpoint("penstock_upstream_connections", "gauge", "Connections to an endpoint open now."),
    _endpoint("penstock_ejections_total", "counter", "Times that an endpoint was passed over for failures.", "model"),
    _endpoint("penstock_ejected", "gauge", "Workers that pass over an endpoint for failures now.", "model"),
    _endpoint("penstock_endpoint_ready", "gauge", "1 if the polls say that the endpoint is live, else 0."),
    _endpoint("penstock_endpoint_polls_total", "counter", "Readiness polls of an endpoint, ok or failed.", "result"),
    _endpoint(
        "penstock_endpoint_queue_depth",
        "gauge",
        "Requests that wait at an endpoint to be executed, of all clients, as its metrics page says.",
        *("model", "version"),
    ),
    _endpoint(
        "penstock_endpoint_service_seconds",
        "gauge",
        "Time that each request takes from an endpoint, by its metrics page; 0 until there was one.",
        *("model", "version"),
    ),
    Family(
        "penstock_scrapes_total", "counter", "Looks at the endpoints' metrics pages, by how they ended.", ("result",)
    ),
    Family(
        "penstock_managed_replicas",
        "gauge",
        "Tritons that the gateway runs, by state: starting, ready, draining, down, crash_loop.",
        ("pool", "state"),
    ),
    Family(
        "penstock_managed_ends_total",
        "counter",
        "Tritons of the gateway that ended by themselves, did not come up (start), or ran without answering (hung).",
        ("pool", "replica", "cause"),
    ),
    Family("penstock_model_loads_total", "counter", "Models loaded by the gateway, ok or failed.", ("pool", "result")),
    Family(
        "penstock_model_unloads_total",
        "counter",
        "Models unloaded by the gateway: room, idle, calm or unlisted.",
        ("pool", "reason"),
    ),
    Family("penstock_model_load_seconds", "histogram", "How long the loading of a model took.", ("pool",), LOAD_BOUNDS),
    Family("penstock_model_waiting", "gauge", "Requests that wait for a model to be loaded now.", ("pool",)),
    Family("penstock_model_waiting_bytes", "gauge", "Bytes of the requests that wait for a model.", ("pool",)),
    Family(
        "penstock_model_waits_total",
        "counter",
        "Requests that found their model not loaded: then loaded, failed, busy, full, deadline or cancelled.",
        ("pool", "result"),
    ),
    Family("penstock_state_commands_total", "counter", "Commands sent to the state store."),
    Family(
        "penstock_state_errors_total",
        "counter",
        "Commands that the state store did not do: down, timeout, lost, full, garbage, refused.",
        ("reason",),
    ),
    Family(
        "penstock_state_seconds",
        "histogram",
        "From sending commands to the state store together to the last answer.",
        bounds=STATE_BOUNDS,
    ),
    Family("penstock_state_up", "gauge", "1 while the state store answers this process, else 0.", ("process",)),
    Family(
        "penstock_members",
        "gauge",
        "Gateways that share a pool, this one included, as the state store last said; 1 for one that is alone.",
        ("pool",),
    ),
    Family("penstock_workers_ready", "gauge", "Workers that are connected to control and serve."),
    Family("penstock_worker_restarts_total", "counter", "Workers started again after they ended.", ("worker",)),
    Family("penstock_loop_lag_seconds", "gauge", "How late the worker's event loop ran a timer.", ("worker",)),
    Family("penstock_process_cpu_seconds_total", "counter", "User and system CPU time of a process.", ("process",)),
    Family("penstock_process_resident_bytes", "gauge", "Resident memory of a process.", ("process",)),
    Family("penstock_config_generation", "gauge", "How often a configuration was taken over.", merge="max"),
    Family("penstock_world_generation", "gauge", "How often control told the workers something new.", merge="max"),
    Family("penstock_build_info", "gauge", "1, labelled with the version that runs.", ("version",), merge="max"),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _TABLE}
