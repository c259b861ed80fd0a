"""The control plane: what the endpoints say, told to the workers as one `World`; what the workers say; readiness."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from config.schema import Config, Route
from gateway.control.fleet import Fleet
from gateway.control.fleet_view import describe, gauges, waits
from gateway.control.groups import groups_of
from gateway.control.keeper import Keepers
from gateway.control.keys import KeyWatch, Publish
from gateway.control.load_records import LoadRecords
from gateway.control.managed import Ground
from gateway.control.members import Members
from gateway.control.poller import Client, Pollers
from gateway.control.slots import Slots
from gateway.control.triton import TritonClient
from gateway.control.withdrawal import Generations, Withdrawals
from gateway.rundir import BOARD_SLOTS
from gateway.store import Store, settings_of
from gateway.tasks import spawn
from gateway.telemetry.metrics import Metrics, Values, measure_process
from gateway.telemetry.totals import Totals
from gateway.version import version
from gateway.world import EndpointState, Hello, KeySet, Outcome, Places, Report, World
from routing.discovery import Source
from routing.fleet import Fleet as RequestFleet
from routing.load_board import LoadBoard
from state.key_store import KeyStore

if TYPE_CHECKING:
    from gateway.explain import Question

TRITON_GRACE = 3.0
"""Seconds that Tritons get to end when the gateway does: nobody asks them any more."""
PUBLISH_DELAY = 0.02
"""Seconds in which changes of several endpoints gather into one World."""

DEATH_POLL = 0.05
"""Seconds from one look to the next whether a worker that is gone has ended."""

_log = logging.getLogger(__name__)


class _Worker:
    """A worker as control sees it."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.connected = False
        self.ready = False
        self.generation = 0
        self.buried = False

    def missing(self, generation: int) -> str | None:
        """Why it does not serve as of this World; None if it does."""
        if not self.connected:
            return "not connected"
        if not self.ready:
            return "not ready"
        return None if self.generation >= generation else "has not taken over the endpoints yet"


class Plane:
    """Control's state. `start` it, attach where worlds go, and hand it the workers' messages: it is a `link.Handler`.

    `workers` is how many are configured; those with a number beyond it are served but not waited for. `board` is the
    load board, in memory if not given; `slots` the file that keeps whose rows are whose; `sources` are
    found otherwise than a pool says; `ground` is where the Tritons are kept that the gateway runs; `node` is what other
    gateways know this one by, None if its store is its own.
    """

    def __init__(
        self,
        config: Config,
        workers: int,
        client: Callable[[str], Client] = TritonClient,
        board: LoadBoard | None = None,
        slots: str | None = None,
        sources: Mapping[str, Source] | None = None,
        ground: Ground | None = None,
        node: str | None = None,
    ) -> None:
        self.config = config
        self.draining = False
        self._metrics = Metrics()
        self._totals = Totals()
        self.board = board or LoadBoard.create(None, BOARD_SLOTS, max(1, workers))
        self.fleet = Fleet(self.board, Slots(self.board, slots), self._metrics, self._moved)
        self.store = Store(self._metrics, "control", patient=True)
        self._generations = Generations(self._lagging)
        self.withdrawals = Withdrawals(self.board, self._publish, self._generations.reached)
        self.keepers = Keepers(
            config, self._metrics, self.withdrawals, self._told, self.refresh, ground, self.fleet.gpu_memory
        )
        sources = {**self.keepers.sources(), **(sources or {})}
        self._pollers = Pollers(
            config.pools,
            self._changed,
            self._metrics,
            client,
            self.fleet.paged,
            sources,
            self.keepers.polled,
            cached(config),
            LoadRecords(self.store) if settings_of(config) is not None else None,
        )
        self._workers = {index: _Worker() for index in range(workers)}
        self._publishers: list[Callable[[World], None]] = []
        self._pools: dict[str, tuple[EndpointState, ...]] = {}
        self._generation = 0
        self._live_from = 0
        self._polled = False
        self._dirty = False
        self._listeners: list[Callable[[], None]] = []
        self._key_publishers: list[Publish] = []
        self._place_publishers: list[Callable[[Places], None]] = []
        stored = KeyStore(self.store) if settings_of(config) is not None else None
        self.keys = KeyWatch(stored, config.key_file, self._publish_keys)
        groups = groups_of(config.pools) if node is not None and stored is not None else {}
        self.members = Members(self.store, node or "", groups, self._offered, self._publish_places)
        self._metrics.gauge("penstock_build_info", (version(),)).value = 1
        self._metrics.gauge("penstock_config_generation").value = 1

    def attach(
        self,
        publish: Callable[[World], None],
        publish_keys: Publish | None = None,
        publish_places: Callable[[Places], None] | None = None,
    ) -> None:
        """Give each World from now on to `publish`, API keys as they change to `publish_keys`, and this gateway's
        places among others to `publish_places`."""
        self._publishers.append(publish)
        if publish_keys is not None:
            self._key_publishers.append(publish_keys)
        if publish_places is not None:
            self._place_publishers.append(publish_places)

    def _publish_places(self, places: Places) -> None:
        for publish in self._place_publishers:
            publish(places)

    def _offered(self) -> dict[str, float]:
        """Seconds of work that were ever sent to each pool."""
        return {pool: seconds for (pool,), seconds in self._totals.counter("penstock_offered_seconds_total").items()}

    def _publish_keys(self, keys: KeySet, whole: Callable[[], KeySet]) -> None:
        for publish in self._key_publishers:
            publish(keys, whole)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever readiness may have changed."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Poll the endpoints until cancelled. The first World goes out when each was polled once: workers that outlived
        the control before this one would else lose all their endpoints for a moment."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pollers.run(), name="pollers")
            group.create_task(self.fleet.run(), name="fleet")
            group.create_task(self._bury(), name="load of dead workers")
            self.store.follow(self.config)
            group.create_task(self._watch_keys(), name="API keys")
            group.create_task(self._watch_members(), name="members")
            await self._pollers.first()
            await self.keys.looked()
            self._polled = True
            self._publish()
            group.create_task(self.keepers.run(), name="keepers")

    async def _watch_keys(self) -> None:
        await self.store.settled()
        await self.keys.run()

    async def _watch_members(self) -> None:
        await self.store.settled()
        await self.members.run()

    async def close(self, grace: float = TRITON_GRACE) -> None:
        """End the Tritons that this gateway runs, when `run` has ended and the workers have."""
        await self.members.leave()
        await self.keepers.stop(grace)
        await self.store.close()

    def drain(self) -> None:
        """Fail readiness, here and at the workers, from now on."""
        self.draining = True
        self._publish()

    # What the workers say: gateway.link.Handler

    def hello(self, hello: Hello) -> None:
        """A worker connected: the first time, again, or another process in its place."""
        worker = self._workers.setdefault(hello.worker, _Worker())
        if worker.pid not in (None, hello.pid):
            self._totals.retire(_source(hello.worker))
            self._clear_load(hello.worker)
            self._metrics.counter("penstock_worker_restarts_total", (str(hello.worker),)).value += 1
        worker.pid, worker.connected, worker.ready, worker.buried = hello.pid, True, False, False
        _log.info("worker connected", extra={"worker": hello.worker, "worker_pid": hello.pid})
        self._tell()

    def gone(self, hello: Hello) -> None:
        """A worker's connection ended."""
        worker = self._workers[hello.worker]
        worker.connected = worker.ready = False
        self._generations.changed()
        self._totals.mute(_source(hello.worker))
        if not self.draining:
            _log.warning("worker disconnected", extra={"worker": hello.worker, "worker_pid": hello.pid})
        self._tell()

    def report(self, report: Report) -> None:
        """A worker's metrics, and whether it serves."""
        worker = self._workers.setdefault(report.worker, _Worker())
        told = (worker.ready, worker.generation)
        worker.generation = report.generation
        self._generations.changed()
        self._totals.update(_source(report.worker), Values(report.counters, report.gauges, report.histograms))
        worker.ready = report.ready
        if told != (worker.ready, worker.generation):
            self._tell()

    async def refresh(self, pool: str, address: str = "", loaded: str = "") -> None:
        """Poll `pool` now, or the endpoint of it with this address, and publish what changed; a model that was `loaded`
        there did."""
        await self._pollers.refresh(pool, address, loaded)
        if self._dirty:
            self._publish()

    async def _bury(self) -> None:
        """What a worker had in flight ended with it, in the middle of anything. One that lives has only lost its
        connection."""
        while True:
            for index, worker in self._workers.items():
                if worker.pid is not None and not worker.connected and not worker.buried and not _alive(worker.pid):
                    worker.buried = True
                    self._clear_load(index)
            await asyncio.sleep(DEATH_POLL)

    def _clear_load(self, worker: int) -> None:
        if worker < self.board.workers:
            self.board.worker(worker).clear()

    async def load(self, pool: str, model: str, tell: Callable[[str], None]) -> Outcome:
        """Have a model loaded that a request needs."""
        return await self.keepers.load(pool, model, tell)

    # What the admin port shows

    def missing(self) -> list[str]:
        """Why this gateway is not ready, one reason each; empty if it is.

        It is when each configured worker serves, a pool of each route has a live endpoint, and no drain began.
        """
        reasons = ["draining"] if self.draining else []
        for index, worker in self._workers.items():
            if (reason := worker.missing(self._live_from)) is not None:
                reasons.append(f"worker {index}: {reason}")
        states, failures = self._pollers.states(), self._pollers.failures()
        for position, route in enumerate(self.config.routes):
            if self._has_live(route):
                continue
            if any(state.live for pool in route.pools for state in states[pool]):
                reasons.append(f"route {_label(route, position)}: the workers are not told of its endpoints yet")
            else:
                dead = "; ".join(_dead(pool, states[pool], failures.get(pool, "")) for pool in route.pools)
                reasons.append(f"route {_label(route, position)}: {dead}")
        return reasons

    def fleet_view(self, pool: str, model: str) -> dict[str, Any]:
        """All endpoints of one pool or, for "", of all; with one model or, for "", all of them. For `/v1/fleet`."""
        view = describe(self.fleet, self._pools, pool, model, monotonic())
        for name, told in view["pools"].items():
            told["members"] = self.members.describe(name)
            told.update(self.keepers.describe(name))
            if "models_on_demand" in told:
                told["models_on_demand"].update(waits(self._totals.values().counters, name))
        return view

    def explain(self, question: Question) -> dict[str, Any]:
        """Where a request goes and why. For `/v1/explain`."""
        from gateway.explain import Known, explain  # what decides on requests is large, and control seldom asks

        known = Known(self._pools, RequestFleet(self.board), self._totals.values().gauges)
        return explain(self.config, question, known)

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition that the `Accept` header asks for, and its content type."""
        ready = sum(worker.missing(0) is None for worker in self._workers.values())
        self._metrics.gauge("penstock_workers_ready").value = ready
        self._metrics.gauge("penstock_world_generation").value = self._generation
        measure_process(self._metrics, "control")
        values = self._metrics.snapshot()
        values.gauges.update(gauges(self.fleet, self._pools))
        values.gauges["penstock_members"] = self.members.counts()
        self._totals.update("control", values)
        return self._totals.render(accept)

    def _changed(self) -> None:
        """An endpoint's state changed: publish soon, with what else changes meanwhile."""
        if self._polled and not self._dirty:
            self._dirty = True
            spawn(self._publish_soon(), "publish")
        self._tell()

    async def _publish_soon(self) -> None:
        await asyncio.sleep(PUBLISH_DELAY)
        if self._dirty:
            self._publish()

    def _publish(self) -> int:
        """Tell the workers; returns the number of what they were told last."""
        self._dirty = False
        if not self._polled:
            return self._generation
        self._generation += 1
        polled = self.fleet.sync(self.config.pools, self._pollers.endpoints(), self._pollers.states())
        was_live, self._pools = self._is_live(), self.withdrawals.over(polled)
        if self._is_live() and not was_live:
            self._live_from = self._generation
        world = World(self._generation, self.config, self._pools, self.draining)
        for publish in self._publishers:
            publish(world)
        self.keepers.wake()
        self._tell()
        return self._generation

    def _told(self, pool: str) -> tuple[EndpointState, ...]:
        return self._pools.get(pool, ())

    def _is_live(self) -> bool:
        """Has each route somewhere to go, by what the workers were told?"""
        return all(map(self._has_live, self.config.routes))

    def _has_live(self, route: Route) -> bool:
        return any(state.live for pool in route.pools for state in self._pools.get(pool, ()))

    def _lagging(self, generation: int) -> bool:
        """Has a worker that lives not taken this over?"""
        return any(
            not (worker.connected and worker.generation >= generation)
            for worker in self._workers.values()
            if worker.pid is None or _alive(worker.pid)
        )

    def _moved(self, address: str) -> None:
        self._pollers.hint(address)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def cached(config: Config) -> frozenset[str]:
    """The pools of which answers are kept: those must not outlive the load of a model that they are of."""
    routes = [route for route in config.routes if any(policy.kind == "cache" for policy in route.policies)]
    return frozenset(pool for route in routes for pool in route.pools)


def _source(worker: int) -> str:
    return f"worker {worker}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, so it is there
    return True


def _label(route: Route, position: int) -> str:
    return route.name or str(position)


def _dead(pool: str, states: tuple[EndpointState, ...], failure: str) -> str:
    if not states:
        return f"pool {pool} has no endpoints" + (f" ({failure})" if failure else "")
    return f"pool {pool} has no live endpoint (" + "; ".join(f"{one.address}: {one.reason}" for one in states) + ")"
