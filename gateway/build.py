"""Configuration and world to a snapshot: leaves first, and what did not change keeps its object.

Endpoints live as long as their address stays in the configuration, so their connections survive every change of the
world.
"""

from __future__ import annotations

from collections.abc import Callable

from config.match import compile_patterns
from config.schema import Pool as PoolConfig
from gateway.snapshot import Route, Snapshot
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState, World
from routing.call import link
from routing.connectors.grpc_h2 import Channel
from routing.endpoint import Endpoint
from routing.pickers import make
from routing.pool import Pool
from routing.tasks import spawn


class Builder:
    """Builds snapshots and owns the parts that outlive them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._endpoints: dict[tuple[str, str], tuple[PoolConfig, Endpoint, Channel]] = {}
        self._pools: dict[str, tuple[PoolConfig, Pool]] = {}

    def build(self, world: World) -> Snapshot:
        """The snapshot of this world."""
        pools = {name: self._pool(name, spec, world.pools.get(name, ())) for name, spec in world.config.pools.items()}
        self._drop_absent(world)
        routes = []
        for spec in world.config.routes:
            pool = pools[spec.to.pool]
            handler = link((), pool.forward)
            route = Route(spec.name, pool, spec.to.version or "", spec.timeout, handler, self._metrics)
            routes.append((compile_patterns(spec.match.model).matches, route))
        return Snapshot(routes, pools)

    def _pool(self, name: str, spec: PoolConfig, states: tuple[EndpointState, ...]) -> Pool:
        known = self._pools.get(name)
        if known is None or known[0] != spec:
            pool = Pool(name, make(spec.pick), self._count_retry)
            self._pools[name] = (spec, pool)
        else:
            pool = known[1]
        by_address = {state.address: state for state in states}
        endpoints = []
        for each in spec.endpoints:
            endpoint = self._endpoint(name, spec, each.address, pool.changed)
            take_state(endpoint, by_address.get(each.address))
            endpoints.append(endpoint)
        pool.set_endpoints(endpoints)
        return pool

    def _endpoint(self, pool: str, spec: PoolConfig, address: str, on_change: Callable[[], None]) -> Endpoint:
        known = self._endpoints.get((pool, address))
        if known is not None and known[0] == spec:
            return known[1]
        if known is not None:
            spawn(known[2].aclose(), f"close {address}")
        channel = Channel(
            address,
            connections=spec.connections,
            connect_timeout=spec.connect_timeout,
            message_bytes=spec.message_bytes,
            on_change=on_change,
        )
        channel.start()
        endpoint = Endpoint(address, channel)
        self._endpoints[pool, address] = (spec, endpoint, channel)
        return endpoint

    def _drop_absent(self, world: World) -> None:
        wanted = {(name, each.address) for name, spec in world.config.pools.items() for each in spec.endpoints}
        for key in self._endpoints.keys() - wanted:
            spawn(self._endpoints.pop(key)[2].aclose(), f"close {key[1]}")
        for name in self._pools.keys() - world.config.pools.keys():
            del self._pools[name]

    def _count_retry(self, pool: str, reason: str) -> None:
        self._metrics.counter("penstock_retries_total", (pool, reason)).value += 1

    def endpoints(self) -> list[tuple[str, Endpoint, Channel]]:
        """All endpoints with their pool's name, for reports."""
        return [(pool, endpoint, channel) for (pool, _), (_, endpoint, channel) in self._endpoints.items()]

    async def aclose(self) -> None:
        """Close all channels."""
        for _, _, channel in self._endpoints.values():
            await channel.aclose()


def take_state(endpoint: Endpoint, state: EndpointState | None) -> None:
    """What control knows of an endpoint; until it knows anything the connection alone decides."""
    if state is None:
        endpoint.live = True
        return
    endpoint.live = state.live
    endpoint.known = state.known
    endpoint.reason = state.reason
    endpoint.inventory = state.models
