"""Where models are loaded and unloaded: the Tritons of a pool, one change at a time each, and none under a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.control.model_client import ModelClient, ModelError, Used
from gateway.world import EndpointState, ModelVersion

QUESTION_TIMEOUT = 5.0
UNLOAD_POLL = 0.02
"""Seconds from one look to the next whether a model is gone."""
HELD = frozenset({"READY", "LOADING", "UNLOADING"})
"""The states of a version that takes memory."""

Index = dict[str, dict[str, ModelVersion]]


class InUse(ModelError):
    """It was not unloaded since it is in use."""


class Client(Protocol):
    """What loads and unloads at one Triton: `ModelClient`. All raise `ModelError`."""

    async def load(self, model: str, config: str | None, timeout: float) -> None:
        """Return when it is READY."""

    async def unload(self, model: str, timeout: float) -> None:
        """Begin to unload."""

    async def index(self, timeout: float) -> Index:
        """Model to version to state."""

    async def mark(self, model: str, timeout: float) -> str:
        """Of the override that it was loaded with."""

    async def used(self, timeout: float) -> dict[str, Used]:
        """How models were used."""

    async def close(self) -> None:
        """Let go of the connection."""


class Fleet(Protocol):
    """What control knows of the pool, and can do about it."""

    def states(self) -> tuple[EndpointState, ...]:
        """Its endpoints as the workers were last told."""

    async def refresh(self, address: str) -> None:
        """Poll the endpoint, and return when the workers are sent what changed."""

    async def withdraw(self, address: str, model: str) -> bool:
        """Tell the workers that the model is not to be used there. True when they know and none has a request for it
        there; False after a bounded time."""

    def in_flight(self, address: str, model: str) -> int:
        """The requests of this gateway for a model that are there now."""

    def wait(self, address: str) -> float:
        """Seconds of work that wait there."""

    def restore(self, address: str, model: str) -> None:
        """Take that back: what polls say holds again."""


class Sites:
    """The Tritons of a pool: a client and a lock for each."""

    def __init__(self, fleet: Fleet, client: Callable[[str], Client] = ModelClient) -> None:
        self.fleet = fleet
        self._make = client
        self._clients: dict[str, Client] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def client(self, address: str) -> Client:
        """Whom to ask."""
        if address not in self._clients:
            self._clients[address] = self._make(address)
        return self._clients[address]

    def lock(self, address: str) -> asyncio.Lock:
        """To be held by whoever loads or unloads there."""
        return self._locks.setdefault(address, asyncio.Lock())

    def live(self) -> dict[str, EndpointState]:
        """The endpoints that answer and whose models are known, by address."""
        return {state.address: state for state in self.fleet.states() if state.live and state.known}

    async def remove(self, address: str, model: str, timeout: float, in_use: bool = False) -> None:
        """Unload, when no request of this gateway is there any more; return when its memory is free. The lock is the
        caller's. Raises `ModelError`: `InUse` if requests stay there, unless it goes `in_use`, which Triton lets finish
        what they began; after another one it may still be on its way."""
        client = self.client(address)
        if not await self.fleet.withdraw(address, model) and not in_use:
            self.fleet.restore(address, model)
            raise InUse(f"requests for {model} do not end")
        try:
            async with asyncio.timeout(timeout):
                await client.unload(model, timeout)
                while held((await client.index(QUESTION_TIMEOUT)).get(model, {})):  # noqa: ASYNC110 - Triton tells nobody
                    await asyncio.sleep(UNLOAD_POLL)
        except TimeoutError as error:
            raise ModelError(f"not unloaded after {timeout:g} s") from error
        finally:
            await self.fleet.refresh(address)
            self.fleet.restore(address, model)

    async def keep(self, addresses: Iterable[str]) -> None:
        """Let go of the others."""
        for address in self._clients.keys() - set(addresses):
            if not self.lock(address).locked():
                await self._clients.pop(address).close()
                del self._locks[address]


def held(versions: dict[str, ModelVersion]) -> bool:
    """Does any version take memory?"""
    return any(each.state in HELD for each in versions.values())


def is_ready(versions: dict[str, ModelVersion]) -> bool:
    """Is any version READY?"""
    return any(each.state == "READY" for each in versions.values())
