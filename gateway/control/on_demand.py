"""Loads the models of a pool when somebody asks for them, and unloads others to make room: what `Placement` chooses.

However many ask for a model, it is loaded once. An endpoint loads or unloads one model at a time, and just before it
does it is asked what it has, so that its room is kept at every moment. A model that fails, or whose load ends a Triton,
is not tried again for a while, and those who ask for it are told why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from config.schema import Models
from gateway.control.failures import Failures
from gateway.control.load_metrics import LoadMetrics
from gateway.control.model_client import ModelError, Unreachable
from gateway.control.placement import SPREAD_IDLE, Busy, Host, Place, Placement, TooLarge
from gateway.control.residents import Residents
from gateway.control.sites import InUse, Sites, is_ready
from gateway.tasks import spawn
from gateway.world import Outcome

BUSY_POLL = 0.05
"""Seconds from one look to the next whether there is room."""
TICK = 1.0
"""Seconds from one look to the next for what is to be unloaded or spread."""
TRIES = 2
"""Endpoints that a model is tried on before it counts as failed."""

_log = logging.getLogger(__name__)

Tell = Callable[[str], None]
"""Is called with what a load waits for, in words."""


class _Wish:
    """A model that is being brought, and who is told how that goes."""

    def __init__(self) -> None:
        self.told: list[Tell] = []
        self.progress = ""

    def tell(self, progress: str) -> None:
        if progress != self.progress:
            self.progress = progress
            for tell in self.told:
                tell(progress)


class OnDemand:
    """The models of one pool. `run` it, and `load` what is asked for."""

    def __init__(
        self,
        pool: str,
        models: Models,
        sites: Sites,
        residents: Residents,
        metrics: LoadMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._sites = sites
        self._residents = residents
        self._metrics = metrics
        self._clock = clock
        self._wishes: dict[str, _Wish] = {}
        self._tasks: dict[str, asyncio.Task[Outcome]] = {}
        self._pending: Counter[str] = Counter()
        self.apply(models)

    def apply(self, models: Models) -> None:
        """Go by these bounds from now on."""
        self._models = models
        self._residents.pinned = {one.name for one in models.load}
        self._placement = Placement(models, self._residents.sizes)
        self._failures: Failures[tuple[str, str]] = Failures(models.failure_backoff, self._clock)

    def troubles(self) -> list[str]:
        """What does not load, and why."""
        return [f"model {model}: {each.reason}" for (address, model), each in self._failures.items() if not address]

    def describe(self) -> dict[str, Any]:
        """For `GET /v1/fleet`: the room on each endpoint, how often was loaded and unloaded, what each model that is
        wanted waits for, and what fails."""
        return {
            "max_loaded": self._models.max_loaded,
            "memory": self._models.memory,
            **self._metrics.counts(),
            "wanted": {model: wish.progress for model, wish in self._wishes.items()},
            "failing": {model: each.reason for (address, model), each in self._failures.items() if not address},
        }

    async def load(self, model: str, tell: Tell = lambda progress: None) -> Outcome:
        """Return when `model` is READY somewhere and the workers were sent word of it, or why it is not."""
        if self._is_ready(model):  # whoever asks has not heard of it yet
            return Outcome("ready")
        live = self._sites.live().values()
        if not live:  # a moment ago a worker saw one
            return Outcome("busy", f"no endpoint of pool '{self._pool}' is live", 1.0)
        if not any(model in state.models for state in live):
            return Outcome("unknown", f"no endpoint of pool '{self._pool}' has model '{model}' in its repository", 1.0)
        if model not in self._tasks and (wait := self._failures.wait(("", model))) > 0:
            failure = self._failures.get(("", model))
            return Outcome("failed", failure.reason if failure else "", wait)
        return await self._join(model, tell)

    async def _join(self, model: str, tell: Tell) -> Outcome:
        task, wish = self._tasks.get(model), self._wishes.get(model)
        if task is None or wish is None:
            wish = self._wishes[model] = _Wish()
            task = self._tasks[model] = spawn(self._bring(model, wish), f"load of {model}")
        wish.told.append(tell)
        if wish.progress:
            tell(wish.progress)
        return await asyncio.shield(task)

    async def _bring(self, model: str, wish: _Wish) -> Outcome:
        try:
            async with asyncio.timeout(self._models.load_timeout):
                return await self._try(model, wish)
        except TimeoutError:
            return Outcome("busy", wish.progress or "it took too long", 1.0)
        finally:
            del self._tasks[model], self._wishes[model]

    async def _try(self, model: str, wish: _Wish) -> Outcome:
        """Until it is loaded, or failed on as many endpoints as is enough."""
        failed: set[str] = set()
        while True:
            hosts = await self._hosts()
            if self._is_ready(model):
                return Outcome("ready")
            if moving := [host.address for host in hosts if model in host.residents]:
                await self._await_change(moving)
                continue
            place = self._placement.place(model, self._candidates(model, hosts, failed), self._clock())
            if isinstance(place, TooLarge):
                return self._fail(model, place.reason)
            if isinstance(place, Busy):
                wish.tell(place.reason)
                await asyncio.sleep(BUSY_POLL)
                continue
            wish.tell(f"it is being loaded on {place.address}")
            try:
                if await self._load_at(place, model):
                    return Outcome("ready")
            except ModelError as error:
                failed.add(place.address)
                self._failures.add((place.address, model), str(error))
                if len(failed) >= TRIES or not self._candidates(model, hosts, failed):
                    return self._fail(model, str(error))
                if isinstance(error, Unreachable):  # it may be what ended that Triton: not the next one at once
                    wish.tell(f"a load failed: {error}")
                    await asyncio.sleep(self._models.failure_backoff)

    def _candidates(self, model: str, hosts: list[Host], failed: set[str]) -> list[Host]:
        """Where it may be loaded: not where it is, nor where it just failed; where it failed before, only if there is
        nowhere else."""
        possible = [
            host for host in hosts if model in host.known and model not in host.residents and host.address not in failed
        ]
        return [host for host in possible if not self._failures.wait((host.address, model))] or possible

    async def _load_at(self, chosen: Place, model: str, idle: float = 0.0) -> bool:
        """Make room by what the endpoint says it has now, and load. False if that is not possible any more, or more
        must go than when it was chosen. Raises `ModelError` when the load fails."""
        address = chosen.address
        self._pending[address] += 1
        try:
            async with self._sites.lock(address):
                host = await self._host(address)
                if host is None or model in host.residents:
                    return False
                place = self._placement.place(model, [host], self._clock(), idle)
                if not isinstance(place, Place) or len(place.evict) > len(chosen.evict):
                    return False
                if not await self._evict(address, place.evict):
                    return False
                await self._load_now(address, model)
                return True
        finally:
            self._pending[address] -= 1

    async def _evict(self, address: str, models: tuple[str, ...]) -> bool:
        for model in models:
            if not await self._unload(address, model, "room"):
                return False
        return True

    async def _load_now(self, address: str, model: str) -> None:
        began = self._clock()
        before = self._residents.memory(address)
        try:
            with self._metrics.load():
                await self._sites.client(address).load(model, None, self._models.load_timeout)
            seconds = self._clock() - began
            self._failures.clear((address, model))
            self._failures.clear(("", model))
            self._residents.loaded(address, model, before)
            told = {"pool": self._pool, "endpoint": address, "model": model, "seconds": round(seconds, 3)}
            _log.info("loaded a model", extra=told)
        finally:
            await self._sites.fleet.refresh(address)

    def _fail(self, model: str, reason: str) -> Outcome:
        failure = self._failures.add(("", model), reason)
        told = {"pool": self._pool, "model": model, "reason": reason, "failures": failure.times}
        _log.error("a model that was asked for does not load", extra=told)
        return Outcome("failed", reason, self._failures.wait(("", model)))

    async def _unload(self, address: str, model: str, why: Literal["room", "idle", "calm"]) -> bool:
        """Under the endpoint's lock. False if it stays."""
        try:
            await self._sites.remove(address, model, self._models.load_timeout)
        except InUse:
            return False
        except ModelError as error:
            told = {"pool": self._pool, "endpoint": address, "model": model, "reason": str(error)}
            _log.error("a model does not unload", extra=told)
            return False
        self._residents.unloaded(address, model)
        self._metrics.unloaded(why)
        _log.info("unloaded a model", extra={"pool": self._pool, "endpoint": address, "model": model, "for": why})
        return True

    # What the endpoints have

    async def _hosts(self) -> list[Host]:
        """All that answer."""
        found = await asyncio.gather(*(self._host(address, fresh=False) for address in self._sites.live()))
        return [host._replace(queue=self._pending[host.address]) for host in found if host is not None]

    async def _host(self, address: str, fresh: bool = True) -> Host | None:
        """What an endpoint has now, or had a moment ago if it need not be `fresh`."""
        state = self._sites.live().get(address)
        residents = await self._residents.of(address, fresh) if state is not None else None
        if state is None or residents is None:
            return None
        bounded = self._models.memory is not None
        taken = self._residents.taken(address, len(residents)) if bounded else 0
        return Host(address, residents, state.models.keys(), self._sites.fleet.wait(address), taken=taken)

    def _is_ready(self, model: str) -> bool:
        """By what the workers were told: an endpoint may have it, but be about to unload it."""
        return any(is_ready(state.models.get(model, {})) for state in self._sites.live().values())

    async def _await_change(self, addresses: list[str]) -> None:
        """A model is there, but on its way in or out, or nobody was told yet."""
        await asyncio.gather(*map(self._sites.fleet.refresh, addresses))
        await asyncio.sleep(BUSY_POLL)

    # Unasked

    async def run(self) -> None:
        """Spread what is popular, and unload what is not needed, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            live = self._sites.live()
            await self._sites.keep(live)
            if not self._worth_a_look(len(live)):
                continue
            hosts, now = await self._hosts(), self._clock()
            for copy in self._placement.overflow(hosts, now):
                await self._unload_if_idle(copy.address, copy.model, "room")
            for copy in self._placement.idle(hosts, now):
                await self._unload_if_idle(copy.address, copy.model, "idle")
            if len(hosts) > 1:
                for copy in self._placement.calm(hosts, now):
                    await self._unload_if_idle(copy.address, copy.model, "calm")
                await self._spread(hosts, now)

    def _worth_a_look(self, endpoints: int) -> bool:
        """Asking an endpoint costs it something: is there anything that might be done?"""
        bounds = (self._models.idle_unload, self._models.memory)
        return endpoints > 1 or (endpoints > 0 and any(bound is not None for bound in bounds))

    async def _unload_if_idle(self, address: str, model: str, why: Literal["room", "idle", "calm"]) -> None:
        async with self._sites.lock(address):
            host = await self._host(address)
            if host is not None and model in host.residents and host.residents[model].may_go(self._clock()):
                await self._unload(address, model, why)

    async def _spread(self, hosts: list[Host], now: float) -> None:
        found = self._placement.spread(hosts, now)
        if found is None or found[0] in self._tasks or self._failures.wait(("", found[0])):
            return
        model, place = found
        try:
            await self._load_at(place, model, SPREAD_IDLE)
        except ModelError as error:
            self._failures.add((place.address, model), str(error))
