"""A stand-in for what loads and unloads models of one Triton: `gateway.control.model_client.ModelClient` without gRPC.

It keeps the states as Triton does: a load of what is loaded without an override does nothing, an unload takes a while.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from gateway.control.model_client import ModelError, Used, mark_of
from gateway.world import EndpointState, ModelVersion


class ModelHost:
    """One Triton with these models in its repository. `broken` maps a model to why it does not load."""

    def __init__(self, address: str, models: Iterable[str] = (), load_seconds: float = 0.0) -> None:
        self.address = address
        self.live = True
        self.states: dict[str, str] = dict.fromkeys(models, "")
        self.marks: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.used_at: dict[str, Used] = {}
        self.loads: Counter[str] = Counter()
        self.unloads: Counter[str] = Counter()
        self.load_seconds = load_seconds
        self.unload_seconds = 0.0
        self.most = 0
        self.slots: dict[str, int] = {}

    def state(self) -> EndpointState:
        """As control's polls see it."""
        models = {
            name: {"1": ModelVersion(state, slot=self.slots.get(name, -1))} if state else {}
            for name, state in self.states.items()
        }
        return EndpointState(self.address, live=self.live, known=True, models=models)

    def resident(self) -> set[str]:
        return {name for name, state in self.states.items() if state in ("READY", "LOADING", "UNLOADING")}

    async def load(self, model: str, config: str | None, timeout: float) -> None:
        self.loads[model] += 1
        if model not in self.states:
            raise ModelError(f"failed to load '{model}', failed to poll from model repository")
        if self.states[model] != "READY":
            self.states[model] = "LOADING"
        self.most = max(self.most, len(self.resident()))
        await asyncio.sleep(self.load_seconds)
        if model in self.broken:
            if self.states[model] == "LOADING":
                self.states[model] = "UNAVAILABLE"
            raise ModelError(self.broken[model])
        if config is not None:
            self.marks[model] = mark_of(config)
        self.states[model] = "READY"

    async def unload(self, model: str, timeout: float) -> None:
        self.unloads[model] += 1
        self.states[model] = "UNLOADING"
        self.marks.pop(model, None)
        self.used_at.pop(model, None)
        asyncio.get_running_loop().call_later(self.unload_seconds, self._unloaded, model)

    def _unloaded(self, model: str) -> None:
        self.states[model] = "UNAVAILABLE"

    async def index(self, timeout: float) -> dict[str, dict[str, ModelVersion]]:
        return self.state().models

    async def mark(self, model: str, timeout: float) -> str:
        return self.marks.get(model, "")

    async def used(self, timeout: float) -> dict[str, Used]:
        return {name: self.used_at.get(name, Used(0, 0.0)) for name, state in self.states.items() if state == "READY"}

    async def close(self) -> None:
        pass
