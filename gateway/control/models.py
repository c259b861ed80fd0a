"""The models that a pool is to have loaded on each of its endpoints, made so again and again.

What is missing is loaded, what has another override than it should is reloaded, one endpoint after the other, and what
was listed once and is no more is unloaded. Models that nobody listed are left alone. What fails is tried ever more
rarely.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Literal

from config.schema import DesiredModel, Models
from gateway.control.failures import Failures
from gateway.control.load_metrics import LoadMetrics
from gateway.control.model_client import ModelError, mark_of
from gateway.control.sites import QUESTION_TIMEOUT, Index, Sites, is_ready
from gateway.control.triton_process import StartError
from gateway.tasks import spawn
from gateway.world import ModelVersion

INTERVAL = 1.0
"""Seconds from one look to the next, if nothing was heard meanwhile."""

_log = logging.getLogger(__name__)

Action = Literal["nothing", "ask", "load", "reload", "replace", "unload"]


def decide(wanted: DesiredModel, versions: dict[str, ModelVersion], mark: str | None) -> Action:
    """What brings a model to what is wanted. `mark` is that of its override, None while nobody asked.

    Triton keeps an override through a plain reload: only an unload undoes one.
    """
    if any(each.state in ("LOADING", "UNLOADING") for each in versions.values()):
        return "nothing"
    if not is_ready(versions):
        return "load"
    if mark is None:
        return "ask"
    if mark == mark_of(wanted.config):
        return "nothing"
    return "reload" if wanted.config is not None else "replace"


class DesiredModels:
    """Keeps the endpoints of one pool at its list of models. `run` it; `wake` it when an endpoint changed; `apply`
    another list; `prepare` an endpoint before it joins."""

    def __init__(
        self,
        pool: str,
        models: Models,
        sites: Sites,
        metrics: LoadMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._models = models
        self._sites = sites
        self._metrics = metrics
        self._clock = clock
        self._failures: Failures[tuple[str, str]] = Failures(models.failure_backoff, clock)
        self._marks: dict[tuple[str, str], str] = {}
        self._unwanted: set[tuple[str, str]] = set()
        self._busy: set[str] = set()
        self._reloading = asyncio.Lock()
        self._wake = asyncio.Event()

    def apply(self, models: Models) -> None:
        """Keep this list from now on. What the one before had and this one has not is unloaded."""
        gone = {one.name for one in self._models.load} - {one.name for one in models.load}
        self._unwanted |= {(address, name) for address in self._sites.live() for name in gone}
        self._unwanted -= {(address, one.name) for address, _ in self._unwanted for one in models.load}
        self._models = models
        self._failures = Failures(models.failure_backoff, self._clock)
        self._wake.set()

    def wake(self) -> None:
        """An endpoint changed: look now."""
        self._wake.set()

    def troubles(self) -> list[str]:
        """What does not load, where and why."""
        return [f"model {model} at {address}: {each.reason}" for (address, model), each in self._failures.items()]

    async def prepare(self, address: str) -> None:
        """Load all that is wanted at an address that is no endpoint yet. Raises `StartError`."""
        async with self._sites.lock(address):
            for wanted in self._models.load:
                try:
                    await self._load(address, wanted)
                except ModelError as error:
                    raise StartError(f"model {wanted.name} does not load: {error}") from error

    async def run(self) -> None:
        """Keep at it until cancelled."""
        while True:
            self._wake.clear()
            self._look()
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._wake.wait()
            except TimeoutError:
                pass  # the interval is over

    def _look(self) -> None:
        """Begin at each endpoint where something is to be done and nothing is being done."""
        live = self._sites.live()
        self._failures.keep(lambda key: key[0] in live)
        self._unwanted = {key for key in self._unwanted if key[0] in live}
        for key in [key for key in self._marks if key[0] not in live]:
            del self._marks[key]
        for address, state in live.items():
            if address not in self._busy and any(self._due(address, state.models)):
                self._busy.add(address)
                spawn(self._work(address), f"models of {address}")

    def _due(self, address: str, index: Index) -> Iterator[tuple[DesiredModel, Action]]:
        """What is to be done at an endpoint now."""
        for wanted in self._models.load:
            versions, key = index.get(wanted.name, {}), (address, wanted.name)
            if not is_ready(versions):
                self._marks.pop(key, None)  # whoever loads it next decides
            action = decide(wanted, versions, self._marks.get(key))
            if action != "nothing" and not self._failures.wait(key):
                yield wanted, action
        for place, name in list(self._unwanted):
            if place == address and is_ready(index.get(name, {})):
                yield DesiredModel(name), "unload"

    async def _work(self, address: str) -> None:
        """Do what is due at an endpoint by its own word, which may be newer than the last poll's."""
        changed = False
        try:
            async with self._sites.lock(address):
                index = await self._sites.client(address).index(QUESTION_TIMEOUT)
                for wanted, action in list(self._due(address, index)):
                    changed = await self._act(address, wanted, action) or changed
            if changed:
                await self._sites.fleet.refresh(address)
        except ModelError as error:
            _log.debug("cannot ask %s for its models: %s", address, error)
            await asyncio.sleep(INTERVAL)
        finally:
            self._busy.discard(address)
            self._wake.set()

    async def _act(self, address: str, wanted: DesiredModel, action: Action) -> bool:
        """True if something may have changed there."""
        key = (address, wanted.name)
        try:
            if action == "ask":
                self._marks[key] = await self._sites.client(address).mark(wanted.name, QUESTION_TIMEOUT)
                return False
            if action == "load":
                await self._load(address, wanted)
            elif action == "unload":
                await self._unload(address, wanted.name)
            else:
                async with self._reloading:
                    if action == "replace":
                        await self._sites.remove(address, wanted.name, self._models.load_timeout, in_use=True)
                    await self._load(address, wanted)
                    await self._sites.fleet.refresh(address)  # before the next endpoint's turn
                _log.info("reloaded a model", extra={"pool": self._pool, "endpoint": address, "model": wanted.name})
        except ModelError as error:
            failure = self._failures.add(key, str(error))
            names = {"pool": self._pool, "endpoint": address, "model": wanted.name}
            told = {"reason": str(error), "failures": failure.times}
            _log.error("a model that is to be loaded is not", extra=names | told)
        else:
            self._failures.clear(key)
        return True

    async def _load(self, address: str, wanted: DesiredModel) -> None:
        with self._metrics.load():
            await self._sites.client(address).load(wanted.name, wanted.config, self._models.load_timeout)
        self._marks[address, wanted.name] = mark_of(wanted.config)

    async def _unload(self, address: str, model: str) -> None:
        self._unwanted.discard((address, model))
        await self._sites.remove(address, model, self._models.load_timeout, in_use=True)
        self._metrics.unloaded("unlisted")
        _log.info(
            "unloaded a model that is listed no more", extra={"pool": self._pool, "endpoint": address, "model": model}
        )
