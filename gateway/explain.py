"""Why a request goes where it goes: the route, what decided, the policies, the candidates and why no other is one.

Decisions are made by the same code as for real requests: `routing.table` on the file's rules and shares, the pool's own
candidates, the endpoints' own expected wait on the load board. From a file alone nothing is known of endpoints, so the
answer ends at the pool. What only workers know (a connection that is down, failures for which an endpoint is passed
over) comes from their reports, up to a second late; of `latest` the answer is what a gateway would say that starts now.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple

from config.match import compile_patterns
from config.pools import Pool as PoolConfig
from config.routes import Condition, PolicySpec, Route, Target, Variant
from config.schema import Config
from gateway.routes import RouteLinker
from gateway.telemetry.metrics import Labels
from gateway.world import EndpointState
from routing.call import Call, Reply
from routing.connectors.streaming import StreamAttempt, StreamSink
from routing.endpoint import READY, Endpoint
from routing.fleet import Fleet
from routing.match import INFER, REST, View
from routing.pickers import Tools, make
from routing.pool import Pool, unknown_model
from routing.split import BUCKETS
from routing.table import Decision
from routing.versions import LATEST, Labelled, Latest
from transcoding.status import GatewayError

Gauges = Mapping[str, Mapping[Labels, float]]


class Question(NamedTuple):
    """A request as rules and splits see it; header names in lower case, repeated ones joined with a comma."""

    model: str
    version: str = ""
    headers: dict[bytes, bytes] = {}  # noqa: RUF012 - never written
    api: str = REST
    method: str = INFER
    principal: str = ""
    address: str = ""

    @property
    def view(self) -> View:
        """The same for `routing`."""
        return View(self.api, self.method, self.model, self.headers, self.address, principal=self.principal)


class Known(NamedTuple):
    """What control knows at this moment: the endpoints of each pool, their load, and what the workers reported."""

    pools: Mapping[str, tuple[EndpointState, ...]]
    fleet: Fleet
    gauges: Gauges = {}  # noqa: RUF012 - never written


def explain(config: Config, question: Question, known: Known | None = None) -> dict[str, Any]:
    """The answer as JSON: what has no value is null, times are in seconds. `error` is what the client would be told,
    null when the request goes to one of `candidates`. Without `known`, `candidates` and `others` are null."""
    told: dict[str, Any] = {"model": question.model, "live": known is not None, "route": None, "error": None}
    found = route_of(config, question.model)
    if found is None:
        return told | {"error": unknown_model(question.model).message}
    position, route = found
    pools = {name: a_pool(name, config.pools[name], known) for name in route.pools}
    latest = {name: Latest(pool) for name, pool in pools.items()}
    linker = RouteLinker(pools, lambda pool: latest[pool.name], config.labels, random.random)
    decision = linker.table(route).explain(question.view)
    target = target_of(route, decision)
    told |= {
        "route": {"name": route.name, "position": position, "match": list(route.match.model)},
        "rules": [
            {"name": rule_name(route, at), "when": [when(each) for each in rule.when], "holds": at == decision.rule}
            for at, rule in enumerate(route.rules[: None if decision.rule is None else decision.rule + 1])
        ],
        "decided_by": decided_by(route, decision),
        "pool": target.pool,
        "variant": decision.variant.name,
        "policies": [policy(spec) for spec in route.policies],
        "timeout_seconds": route.timeout,
    }
    model = target.model or question.model
    told["asks_for"] = {"model": model, "version": question.version or None, "because": "the client says"}
    try:
        told["asks_for"] |= version_of(config, question, target, model, latest[target.pool] if known else None)
    except GatewayError as error:
        told["error"] = error.message
    pool = config.pools[target.pool]
    told["pick"] = {"kind": pool.pick.kind}
    if known is None:
        return told | {"candidates": None, "others": None}
    return told | endpoints(pools[target.pool], told["asks_for"], known, told["error"])


def route_of(config: Config, model: str) -> tuple[int, Route] | None:
    """The first route that takes this model, and its position."""
    for position, route in enumerate(config.routes):
        if compile_patterns(route.match.model).matches(model):
            return position, route
    return None


# what decided ---------------------------------------------------------------------------------------------------------


def target_of(route: Route, decision: Decision) -> Target | Variant:
    """What the configuration says of the variant that was chosen."""
    if decision.rule is not None:
        return route.rules[decision.rule].to
    if route.split is not None:
        return route.split.variants[decision.variant.name]
    assert route.to is not None
    return route.to


def rule_name(route: Route, position: int) -> str:
    """As it is told to clients."""
    return route.rules[position].name or f"rules[{position}]"


def decided_by(route: Route, decision: Decision) -> dict[str, Any]:
    """`kind` is "rule", "bucket", or "to" where there was nothing to choose."""
    if decision.rule is not None:
        return {"kind": "rule", "position": decision.rule, "name": decision.variant.name}
    if decision.bucket is None or route.split is None:
        return {"kind": "to"}
    sticky = route.split.sticky
    return {
        "kind": "bucket",
        "bucket": decision.bucket,
        "of": BUCKETS,
        "sticky": None if sticky is None else _sticky(sticky.header, sticky.cookie, sticky.principal),
        "key": decision.key.decode("utf-8", "backslashreplace") or None,
        "by_chance": not decision.key,
        "weights": {name: share.weight for name, share in route.split.variants.items()},
    }


def _sticky(header: str | None, cookie: str | None, principal: bool) -> str:
    if header is not None:
        return f"header {header}"
    if cookie is not None:
        return f"cookie {cookie}"
    return "principal" if principal else "address"


def when(condition: Condition) -> str:
    """A condition in words."""
    parts = [f"{name} is {value}" for name, value in (("api", condition.api), ("method", condition.method)) if value]
    if condition.header is not None:
        parts.append(f"header {condition.header} {_test(condition)}")
    if condition.principal:
        parts.append(f"principal is {' or '.join(condition.principal)}")
    if condition.model:
        parts.append(f"model is {' or '.join(condition.model)}")
    return " and ".join(parts)


def _test(condition: Condition) -> str:
    if condition.equals is not None:
        return f"equals {condition.equals!r}"
    if condition.prefix is not None:
        return f"begins with {condition.prefix!r}"
    if condition.regex is not None:
        return f"matches {condition.regex!r}"
    if condition.in_:
        return f"is one of {', '.join(map(repr, condition.in_))}"
    return "is absent" if condition.present is False else "is present"


def policy(spec: PolicySpec) -> dict[str, Any]:
    """A policy of the route."""
    return {"kind": spec.kind, "name": spec.name or None, "options": spec.options}


def version_of(
    config: Config, question: Question, target: Target | Variant, model: str, latest: Latest | None
) -> dict[str, Any]:
    """The version that is asked for and why; null when the endpoint is to decide, or nobody knows without endpoints.
    Raises `GatewayError` for a model without the label."""
    wanted = target.version or ""
    if question.version:
        return {"version": question.version, "because": "the client says"}
    if not wanted:
        return {"version": None, "because": "nobody says: the endpoint decides"}
    if wanted == LATEST:
        return {"version": (latest.of(model) if latest else "") or None, "because": "latest"}
    if wanted.isdecimal():
        return {"version": wanted, "because": "the configuration says"}
    return {"version": Labelled(wanted, config.labels).of(model), "because": f"label {wanted}"}


# endpoints ------------------------------------------------------------------------------------------------------------


class NoChannel:
    """Connections are the workers' business: these endpoints are only looked at."""

    connected = True

    def unary(self, call: Call) -> Awaitable[Reply]:
        """Never."""
        raise RuntimeError("an explanation sends nothing")

    async def stream(
        self, path: bytes, sink: StreamSink, *, metadata: bytes = b"", deadline: float | None = None
    ) -> StreamAttempt:
        """Never."""
        raise RuntimeError("an explanation sends nothing")


def a_pool(name: str, spec: PoolConfig, known: Known | None) -> Pool:
    """The pool as a worker has it, with what control knows of its endpoints."""
    pool = Pool(name, make(spec.pick, Tools()))
    members = []
    for state in known.pools.get(name, ()) if known else ():
        assert known is not None
        endpoint = Endpoint(state.address, NoChannel(), known.fleet)
        endpoint.learn(state.live, state.known, state.reason, state.models, state.slot, state.weight)
        members.append(endpoint)
    pool.set_endpoints(members)
    return pool


def endpoints(pool: Pool, asks_for: Mapping[str, Any], known: Known, error: str | None) -> dict[str, Any]:
    """The candidates, by their score, and why each other endpoint is none; the error if there is no candidate."""
    model, version = asks_for["model"], asks_for["version"] or ""
    candidates = () if error else pool.candidates(model, version)
    if not candidates and not error:
        error = pool.why_not(model, version).message
    scores = [candidate(pool.name, endpoint, (model, version), known) for endpoint in candidates]
    return {
        "error": error,
        "candidates": sorted(scores, key=lambda each: each["expected_wait_seconds"]),
        "others": [
            {"address": endpoint.address, "why": why_none(endpoint, model, version)}
            for endpoint in pool.endpoints
            if endpoint not in candidates
        ],
    }


def candidate(pool: str, endpoint: Endpoint, key: tuple[str, str], known: Known) -> dict[str, Any]:
    """An endpoint that may take the request, and what pickers compare."""
    now = known.fleet.clock()
    ejected = known.gauges.get("penstock_ejected", {})
    connections = known.gauges.get("penstock_upstream_connections", {})
    return {
        "address": endpoint.address,
        "weight": endpoint.weight,
        "expected_wait_seconds": endpoint.expected_wait(key, now),
        "work_seconds": endpoint.work(now),
        "in_flight": endpoint.node_in_flight(),
        "inventory_known": endpoint.known,
        "connections": connections.get((pool, endpoint.address)),
        "workers_that_pass_over": sum(
            count
            for labels, count in ejected.items()
            if labels[:2] == (pool, endpoint.address) and labels[2] in ("", key[0])
        ),
    }


def why_none(endpoint: Endpoint, model: str, version: str) -> str:
    """Why an endpoint may not take a request for this version, "" for any."""
    if not endpoint.live:
        return f"not live: {endpoint.reason}" if endpoint.reason else "not live"
    versions = endpoint.inventory.get(model)
    if versions is None:
        return f"does not have model {model}"
    if not versions:
        return f"model {model} is in its repository, but not loaded"
    if version and version not in versions:
        return f"does not have version {version} of model {model}"
    states = [(name, state) for name, state in versions.items() if version in ("", name) and state.state != READY]
    return "; ".join(
        f"version {name} is {state.state}" + (f": {state.reason}" if state.reason else "") for name, state in states
    )


def headers_of(lines: Sequence[str]) -> dict[bytes, bytes]:
    """The headers of lines such as `x-user: ann`, as `Question` has them. Raises `ValueError` for a line that is
    none."""
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"header {line!r}: expected NAME: VALUE")
        key, text = name.strip().lower().encode(), value.strip().encode()
        headers[key] = headers[key] + b", " + text if key in headers else text
    return headers
