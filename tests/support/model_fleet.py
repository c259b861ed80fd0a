"""What control knows of a pool and does about it, over `ModelHost`s: `gateway.control.sites.Fleet` without workers."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec

from gateway.control.sites import Sites
from gateway.world import EndpointState, ModelVersion
from tests.support.model_host import ModelHost


class ModelFleet:
    """The hosts as a pool. `log` has what was withdrawn and restored; `in_use` counts the requests at
    (address, model), which hold withdrawals up for `patience` seconds."""

    def __init__(self, *hosts: ModelHost) -> None:
        self.hosts = {host.address: host for host in hosts}
        self.withdrawn: set[tuple[str, str]] = set()
        self.log: list[tuple[str, str, str]] = []
        self.refreshed: list[str] = []
        self.in_use: Counter[tuple[str, str]] = Counter()
        self.waits: dict[str, float] = {}
        self.patience = 5.0
        self.sites = Sites(self, self.hosts.__getitem__)

    def states(self) -> tuple[EndpointState, ...]:
        return tuple(self._state(host) for host in self.hosts.values())

    def _state(self, host: ModelHost) -> EndpointState:
        state = host.state()
        models = {
            name: {v: ModelVersion("UNLOADING", slot=one.slot) for v, one in versions.items()}
            if (host.address, name) in self.withdrawn
            else versions
            for name, versions in state.models.items()
        }
        return msgspec.structs.replace(state, models=models)

    async def refresh(self, address: str) -> None:
        self.refreshed.append(address)
        await asyncio.sleep(0)

    async def withdraw(self, address: str, model: str) -> bool:
        self.withdrawn.add((address, model))
        self.log.append(("withdraw", address, model))
        end = asyncio.get_running_loop().time() + self.patience
        while self.in_flight(address, model) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.005)
        return not self.in_flight(address, model)

    def in_flight(self, address: str, model: str) -> int:
        return self.in_use[address, model]

    def wait(self, address: str) -> float:
        return self.waits.get(address, 0.0)

    def restore(self, address: str, model: str) -> None:
        self.withdrawn.discard((address, model))
        self.log.append(("restore", address, model))
