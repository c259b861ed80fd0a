"""What control does for a pool beyond polling it: runs its Tritons, and has its models loaded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from config.schema import Config, Pool
from gateway.control.load_metrics import LoadMetrics
from gateway.control.managed import Ground, ManagedPool
from gateway.control.models import DesiredModels
from gateway.control.on_demand import OnDemand, Tell
from gateway.control.residents import Residents
from gateway.control.sites import Sites
from gateway.control.withdrawal import Withdrawals
from gateway.telemetry.metrics import Metrics
from gateway.world import EndpointState, Outcome

Refresh = Callable[[str, str], Awaitable[None]]
"""Polls an endpoint of a pool, and returns when what changed was published."""


class PoolFleet:
    """One pool as `gateway.control.sites.Fleet`."""

    def __init__(
        self, pool: str, told: Callable[[str], tuple[EndpointState, ...]], refresh: Refresh, withdrawals: Withdrawals
    ) -> None:
        self._pool = pool
        self._told = told
        self._refresh = refresh
        self._withdrawals = withdrawals
        self.withdraw = withdrawals.withdraw
        self.restore = withdrawals.restore
        self.in_flight = withdrawals.in_flight
        self.wait = withdrawals.wait

    def states(self) -> tuple[EndpointState, ...]:
        """Its endpoints as the workers were last told."""
        return self._told(self._pool)

    async def refresh(self, address: str) -> None:
        """Poll one, and return when the workers are sent what changed."""
        await self._refresh(self._pool, address)


class Keeper:
    """One pool. Its Tritons, if it has any, are a source of endpoints, to be run by whoever follows them."""

    def __init__(
        self,
        name: str,
        pool: Pool,
        fleet: PoolFleet,
        metrics: Metrics,
        managed: ManagedPool | None,
        gpu_memory: Callable[[str], int | None] = lambda address: None,
    ) -> None:
        self.managed = managed
        self._name = name
        self._gpu_memory = gpu_memory
        self._repository = pool.managed.repository if pool.managed is not None else ()
        self._sites = Sites(fleet)
        self._metrics = LoadMetrics(metrics, name)
        self._residents = Residents(self._sites, self._memory, self._folder)
        self.desired = DesiredModels(name, pool.models, self._sites, self._metrics)
        self.on_demand = OnDemand(name, pool.models, self._sites, self._residents, self._metrics)
        self._mode = pool.models.mode
        if managed is not None:
            managed.prepared = self.desired.prepare

    async def run(self) -> None:
        """Keep its models as they are to be until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._mode != "repository":
                group.create_task(self.desired.run(), name=f"models of {self._name}")
            if self._mode == "on_demand":
                group.create_task(self.on_demand.run(), name=f"models on demand of {self._name}")

    async def load(self, model: str, tell: Tell) -> Outcome:
        """Have a model loaded that was asked for."""
        if self._mode != "on_demand":
            return Outcome("unknown", f"pool '{self._name}' does not load models on demand")
        return await self.on_demand.load(model, tell)

    def apply(self, pool: Pool) -> None:
        """Have its Tritons and models as this says from now on; the kind of pool and the mode stay."""
        if self.managed is not None:
            self.managed.apply(pool)
        self.desired.apply(pool.models)
        self.on_demand.apply(pool.models)

    def describe(self) -> dict[str, Any]:
        """For `GET /v1/fleet`."""
        told: dict[str, Any] = {"replicas": self.managed.describe()} if self.managed is not None else {}
        if self._mode == "on_demand":
            told["models_on_demand"] = self.on_demand.describe()
        return told

    def troubles(self) -> list[str]:
        """What is wrong with its Tritons and models, one sentence each."""
        managed = self.managed.troubles() if self.managed is not None else []
        return [*managed, *self.desired.troubles(), *self.on_demand.troubles()]

    def _memory(self, address: str) -> int | None:
        """What models take: GPU memory where there is any, else the memory of a Triton of ours."""
        gpus = self._gpu_memory(address)
        if gpus is not None:
            return gpus
        return self.managed.memory_of(address) if self.managed is not None else None

    def _folder(self, model: str) -> int | None:
        """Bytes of a model's files, where its repository is here."""
        for repository in self._repository:
            path = os.path.join(repository, model)
            if os.path.isdir(path):
                return folder_bytes(path)
        return None


class Keepers:
    """The keepers of all pools that need one."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        withdrawals: Withdrawals,
        told: Callable[[str], tuple[EndpointState, ...]],
        refresh: Refresh,
        ground: Ground | None = None,
        gpu_memory: Callable[[str], int | None] = lambda address: None,
    ) -> None:
        self._keepers: dict[str, Keeper] = {}
        for name, pool in config.pools.items():
            if pool.managed is None and pool.models.mode == "repository":
                continue
            managed = None
            if pool.managed is not None:
                assert ground is not None, "there is no place for the Tritons of a managed pool"
                managed = ManagedPool(name, pool, ground, metrics, left=withdrawals.left)
            fleet = PoolFleet(name, told, refresh, withdrawals)
            self._keepers[name] = Keeper(name, pool, fleet, metrics, managed, gpu_memory)

    def sources(self) -> Mapping[str, ManagedPool]:
        """The pools whose Tritons the gateway runs."""
        return {name: each.managed for name, each in self._keepers.items() if each.managed is not None}

    async def run(self) -> None:
        """Keep all until cancelled. Raises what one raised, a bug."""
        async with asyncio.TaskGroup() as group:
            for name, keeper in self._keepers.items():
                group.create_task(keeper.run(), name=f"keeper of {name}")

    def apply(self, config: Config) -> None:
        """Have the Tritons and models of the pools that are kept as this says from now on."""
        for name, keeper in self._keepers.items():
            keeper.apply(config.pools[name])

    def wake(self) -> None:
        """Endpoints changed."""
        for keeper in self._keepers.values():
            keeper.desired.wake()

    async def load(self, pool: str, model: str, tell: Tell) -> Outcome:
        """Have a model loaded that was asked for."""
        keeper = self._keepers.get(pool)
        if keeper is None:
            return Outcome("unknown", f"pool '{pool}' does not load models on demand")
        return await keeper.load(model, tell)

    def polled(self, pool: str, address: str, live: bool) -> None:
        """A poll of an endpoint ended."""
        keeper = self._keepers.get(pool)
        if keeper is not None and keeper.managed is not None:
            keeper.managed.polled(address, live)

    def describe(self, pool: str) -> dict[str, Any]:
        """What is kept of a pool, for `GET /v1/fleet`: its replicas, and how its models are loaded."""
        keeper = self._keepers.get(pool)
        return keeper.describe() if keeper is not None else {}

    def troubles(self) -> dict[str, list[str]]:
        """What is wrong, by pool."""
        return {name: troubles for name, keeper in self._keepers.items() if (troubles := keeper.troubles())}

    async def stop(self, grace: float) -> None:
        """End all Tritons, at most `grace` seconds from now; the pools must have been run to their end."""
        await asyncio.gather(*(pool.stop(grace) for pool in self.sources().values()))


def folder_bytes(path: str) -> int:
    """Bytes of the files under a directory; what cannot be read has none."""
    return sum(_size(os.path.join(place, file)) for place, _, files in os.walk(path) for file in files)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
