"""Configuration and world to a snapshot: leaves first, and what did not change keeps its object.

The same configuration gives the same snapshot, whose pools have the endpoints that control knows and learn what it
knows of them. Endpoints live as long as their address and what their connections need stay the same, so connections
survive every other change; one that goes takes no new requests and is closed when its last one is done.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import NamedTuple

from config.match import compile_patterns
from config.pools import Pick
from config.schema import Config
from config.schema import Pool as PoolConfig
from config.schema import Route as RouteConfig
from gateway.policies import Shared, Shelf
from gateway.routes import RouteLinker
from gateway.snapshot import NO_LISTENERS, Route, Snapshot
from gateway.telemetry.metrics import Metrics
from gateway.waiting import WaitingRooms
from gateway.world import EndpointState, Place, Places, World
from routing.aperture import Aperture
from routing.call import Policy
from routing.chains import chains
from routing.connectors.grpc_h2 import Channel
from routing.endpoint import Endpoint
from routing.health import Health
from routing.pickers import Tools, make
from routing.pins import Pins
from routing.pool import OnStale, Pool
from routing.sequence_table import SequenceTable
from routing.sequences import Sequences
from routing.tasks import spawn
from routing.versions import Latest

RETIREMENT = 60.0
"""Seconds that the last requests of an endpoint get when it leaves the configuration."""
RETIREMENT_POLL = 0.05

ALONE = Place()

Key = tuple[str, str]


class Wiring(NamedTuple):
    """What of a pool's configuration its connections are made from."""

    connections: int
    connect_timeout: float
    message_bytes: int


class Backend(NamedTuple):
    """An endpoint and its connections; `key` is the pool's name and the address."""

    key: Key
    wiring: Wiring
    endpoint: Endpoint
    channel: Channel


class Builder:
    """Builds snapshots and owns the parts that outlive them. `tools` has the load board and the clock; `random` is who
    decides by chance; `sequences` is the table that the workers share; `rooms` are where requests wait for models;
    `on_stale` is told of endpoints that lack a model which they should have; `shared` is what all policies have."""

    def __init__(
        self,
        metrics: Metrics,
        tools: Tools | None = None,
        random: Random | None = None,
        sequences: SequenceTable | None = None,
        rooms: WaitingRooms | None = None,
        on_stale: OnStale | None = None,
        shared: Shared = Shared(),  # noqa: B008 - immutable
    ) -> None:
        self._metrics = metrics
        self._tools = tools or Tools()
        self._config: Config | None = None
        self._snapshot = Snapshot((), {})
        self._random = random or Random()
        self._sequences = sequences or SequenceTable.open(None)
        self._pins = Pins(self._sequences)
        self._rooms = rooms
        self._on_stale = on_stale
        self._pools: dict[str, tuple[Pick, Pool]] = {}
        self._current: dict[str, Pool] = {}
        self._latest: dict[str, Latest] = {}
        self._backends: dict[Key, Backend] = {}
        self._retiring: set[Backend] = set()
        self._apertures: dict[str, Aperture] = {}
        self._places = Places({})
        self._outcomes: dict[Key, Counter[str]] = {}
        self._ejections: dict[str, Counter[tuple[str, str]]] = {}
        self._shelf = Shelf(metrics.counter, self._current, self._latest_of, shared, metrics.gauge)

    def build(self, world: World) -> Snapshot:
        """The snapshot of this world."""
        if world.config != self._config:
            self._snapshot = self._link(world.config)
            self._config = world.config
        members = {name: addresses(world, name) for name in world.config.pools}
        self._drop_absent(members)
        for name, pool in self._snapshot.pools.items():
            self._set_endpoints(pool, world.config.pools[name], members[name])
            states = {state.address: state for state in world.pools.get(name, ())}
            dead = [endpoint for endpoint in pool.endpoints if not endpoint.live]
            changes = [take_state(endpoint, states.get(endpoint.address)) for endpoint in pool.endpoints]
            if any(changes):
                pool.changed()
            for endpoint in dead:
                if endpoint.live:
                    pool.health.revived(endpoint)
        return self._snapshot

    def _link(self, config: Config) -> Snapshot:
        for gone in self._pools.keys() - config.pools.keys():
            del self._pools[gone]
            self._latest.pop(gone, None)
            self._apertures.pop(gone, None)
        pools = {name: self._pool(name, spec) for name, spec in config.pools.items()}
        self._current.clear()
        self._current.update(pools)
        self._shelf.labels = config.labels
        self._shelf.keep(config)
        link = RouteLinker(pools, self._latest_of, config.labels, self._random.random)
        guarded = {
            each.name: self._routes(config, link, self._shelf.policies_at(each))
            for each in config.listen
            if each.policies
        }
        return self._routes(config, link, (), guarded)

    def _routes(
        self,
        config: Config,
        link: RouteLinker,
        front: tuple[Policy, ...],
        listeners: Mapping[str, Snapshot] = NO_LISTENERS,
    ) -> Snapshot:
        """The routes behind these policies of a listener."""
        routes = [(compile_patterns(spec.match.model), self._route(spec, link, front)) for spec in config.routes]
        return Snapshot(routes, self._current.copy(), listeners, chains((), front))

    def _route(self, spec: RouteConfig, link: RouteLinker, front: tuple[Policy, ...]) -> Route:
        stand_ins = tuple(self._current[name] for name in spec.stand_ins)
        parts = chains(self._shelf.policies_of(spec), front)
        table = link.table(spec, parts.tail)
        return Route(spec.name, table, spec.timeout, self._metrics, stand_ins, self._pins, parts)

    def _latest_of(self, pool: Pool) -> Latest:
        """The latest versions in this pool, which must not go back because a snapshot is built."""
        latest = self._latest.setdefault(pool.name, Latest(pool))
        latest.follow(pool)
        return latest

    def _pool(self, name: str, spec: PoolConfig) -> Pool:
        pick, pool = self._pools.get(name, (None, None))
        if pool is None or pick != spec.pick:
            sequences = Sequences(name, self._sequences, spec.sequence_idle)
            tools = replace(self._tools, aperture=self._aperture(name))
            pool = Pool(name, make(spec.pick, tools), self._count_retry, sequences=sequences)
            self._pools[name] = (spec.pick, pool)
        if pool.health.spec != spec.outliers:
            pool.health = Health(name, spec.outliers)
        pool.on_stale = self._on_stale
        pool.loader = self._rooms.room(name, spec.models) if self._rooms is not None else None
        pool.sequences.idle = spec.sequence_idle
        pool.health.ejections = self._ejections.setdefault(name, Counter())
        return pool

    def place(self, places: Places) -> None:
        """Which part of each pool's endpoints is this gateway's own, from now on."""
        self._places = places
        for name, aperture in self._apertures.items():
            self._put(aperture, name)

    def _aperture(self, pool: str) -> Aperture:
        aperture = self._apertures[pool] = Aperture(self._tools.rng)
        self._put(aperture, pool)
        return aperture

    def _put(self, aperture: Aperture, pool: str) -> None:
        place = self._places.pools.get(pool, ALONE)
        aperture.place(place.node, place.loads)

    def _set_endpoints(self, pool: Pool, spec: PoolConfig, addresses: tuple[str, ...]) -> None:
        wiring = Wiring(spec.connections, spec.connect_timeout, spec.message_bytes)
        endpoints = tuple(self._endpoint((pool.name, address), wiring) for address in addresses)
        for endpoint in endpoints:
            endpoint.slow_start = spec.slow_start
        if endpoints != pool.endpoints:
            pool.set_endpoints(endpoints)

    def _endpoint(self, key: Key, wiring: Wiring) -> Endpoint:
        known = self._backends.get(key)
        if known is not None and known.wiring == wiring:
            return known.endpoint
        if known is not None:
            self._retire(known)
        pool, address = key
        channel = Channel(address, **wiring._asdict(), on_change=partial(self._connection_changed, pool))
        channel.start()
        endpoint = Endpoint(address, channel, self._tools.fleet)
        endpoint.outcomes = self._outcomes.setdefault(key, Counter())
        self._backends[key] = Backend(key, wiring, endpoint, channel)
        return endpoint

    def _connection_changed(self, pool: str) -> None:
        known = self._pools.get(pool)
        if known is not None:
            known[1].changed()

    def _drop_absent(self, members: Mapping[str, tuple[str, ...]]) -> None:
        wanted = {(name, address) for name, each in members.items() for address in each}
        for key in self._backends.keys() - wanted:
            self._retire(self._backends.pop(key))

    def _retire(self, backend: Backend) -> None:
        self._retiring.add(backend)
        spawn(self._close_when_idle(backend), f"close {backend.endpoint.address}")

    async def _close_when_idle(self, backend: Backend) -> None:
        loop = asyncio.get_running_loop()
        limit = loop.time() + RETIREMENT
        while backend.endpoint.in_flight and loop.time() < limit:  # noqa: ASYNC110 - in_flight is a plain number
            await asyncio.sleep(RETIREMENT_POLL)
        await backend.channel.aclose()
        self._retiring.discard(backend)

    def _count_retry(self, route: str, reason: str) -> None:
        self._metrics.counter("penstock_retries_total", (route, reason)).value += 1

    def report(self) -> None:
        """Set the gauges and counters of the endpoints, also of those that went: their counters must not go back."""
        metrics = self._metrics
        in_flight, connections = Counter[Key](), Counter[Key]()
        for backend in (*self._backends.values(), *self._retiring):
            self._take_offered(backend)
            in_flight[backend.key] += backend.endpoint.in_flight
            connections[backend.key] += backend.channel.connections
        for key, outcomes in self._outcomes.items():
            metrics.gauge("penstock_endpoint_inflight", key).value = in_flight[key]
            metrics.gauge("penstock_upstream_connections", key).value = connections[key]
            for outcome, count in outcomes.items():
                metrics.counter("penstock_upstream_requests_total", (*key, outcome)).value = count
        for pool, ejections in self._ejections.items():
            self._report_ejections(pool, ejections)

    def _take_offered(self, backend: Backend) -> None:
        """Add what was sent since the last time: endpoints go, and the sum must not go back."""
        endpoint = backend.endpoint
        self._metrics.counter("penstock_offered_seconds_total", (backend.key[0],)).value += endpoint.offered
        endpoint.offered = 0.0

    def _report_ejections(self, pool: str, ejections: Counter[tuple[str, str]]) -> None:
        current = self._current.get(pool)
        for (address, model), count in ejections.items():
            labels = (pool, address, model)
            out = current.health.ejected[address, model] if current is not None else 0
            self._metrics.counter("penstock_ejections_total", labels).value = count
            self._metrics.gauge("penstock_ejected", labels).value = out

    async def aclose(self) -> None:
        """Close all channels."""
        for backend in (*self._backends.values(), *self._retiring):
            await backend.channel.aclose()


def addresses(world: World, pool: str) -> tuple[str, ...]:
    """The endpoints of a pool: as control says or, as long as it says nothing of it, as the configuration does."""
    known = world.pools.get(pool)
    if known is not None:
        return tuple(state.address for state in known)
    return tuple(endpoint.address for endpoint in world.config.pools[pool].endpoints)


def take_state(endpoint: Endpoint, state: EndpointState | None) -> bool:
    """What control knows of an endpoint; until it knows anything the connection alone decides. True if that changes who
    may take a request."""
    if state is None:
        changed, endpoint.live = not endpoint.live, True
        return changed
    dead = not endpoint.live
    changed = endpoint.learn(state.live, state.known, state.reason, state.models, state.slot, state.weight)
    if dead and endpoint.live:
        endpoint.channel.hurry()
    return changed
