"""A pool: endpoints of one kind, and the choice among them.

Who may take a call changes only when control says something new or a connection comes or goes, so candidates are kept
per (model, version) and forgotten at such a change; a request pays one dict lookup and the picker.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from config.pools import Outliers
from routing.budget import Budget
from routing.call import Call, Exchange, Reply
from routing.connectors.outcome import (
    LOADING,
    UNLOADED,
    AllBroken,
    NoOther,
    NotLoaded,
    NotTaken,
    died,
    does_not_load,
    missing,
)
from routing.endpoint import READY, Endpoint, ModelState
from routing.hash_key import hash_key
from routing.health import Health
from routing.pickers import Picker
from routing.sequences import Sequences
from transcoding.status import Code, Fault, GatewayError

MAX_ATTEMPTS = 3
BUSY_SHARE: Final = 0.2
BUSY_MINIMUM: Final = 10.0
"""Of the calls, how many may be sent once more because a queue was full, and how many a second besides: when all queues
are full that only makes work."""
REMEMBERED_CANDIDATES: Final = 65_536
REMEMBERED_SETS: Final = 4096
REASON_LETTERS: Final = 1000
"""Of why a model does not load, how much a client is told."""

Loader = Callable[[Call, NotLoaded], Awaitable[None]]
"""Returns when the call's model is loaded; raises `GatewayError`: the one given, or a better one."""

OnStale = Callable[[str, str], Awaitable[None]]
"""Is told the pool's name and the endpoint's address; what it gives need not be awaited, and ends when the inventory is
known anew."""


class Pool:
    """Endpoints with a picker; `forward` is the handler at the end of a chain.

    `loader` loads what is not loaded, `on_stale` hears of an endpoint that does not have a model which its inventory
    has; None if nobody does. `hash_key` finds what `Call.hash_key` is to be, None where the picker does not need it.
    """

    def __init__(
        self,
        name: str,
        picker: Picker,
        on_retry: Callable[[str, str], None] | None = None,
        health: Health | None = None,
        clock: Callable[[], float] = time.monotonic,
        sequences: Sequences | None = None,
    ) -> None:
        self.name = name
        self.sequences = sequences if sequences is not None else Sequences(name, clock=clock)
        self.health = health if health is not None else Health(name, Outliers(), clock)
        self.busy_budget = Budget(BUSY_SHARE, BUSY_MINIMUM, clock)
        self.loader: Loader | None = None
        self.on_stale: OnStale | None = None
        self.endpoints: tuple[Endpoint, ...] = ()
        self.hash_key = hash_key(picker.wants)
        self._picker = picker
        self._on_retry = on_retry
        self._candidates: dict[tuple[str, str], tuple[Endpoint, ...]] = {}
        self._sets: dict[tuple[tuple[Endpoint, ...], tuple[float, ...]], tuple[Endpoint, ...]] = {}
        self._generation = 0

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """The endpoints from now on, in the order of the configuration."""
        self.endpoints = tuple(endpoints)
        self._sets.clear()
        self.health.keep(self.endpoints)
        self.sequences.follow(self.endpoints)
        self.changed()

    def changed(self) -> None:
        """Something about an endpoint changed: forget who may take what."""
        self._candidates.clear()
        self._generation += 1

    @property
    def generation(self) -> int:
        """Grows with every change; what was derived from the endpoints at an older one is stale."""
        return self._generation

    @property
    def live(self) -> tuple[Endpoint, ...]:
        """The endpoints that answer, whatever models they have."""
        return tuple(endpoint for endpoint in self.endpoints if endpoint.live)

    def candidates(self, model: str, version: str) -> tuple[Endpoint, ...]:
        """Endpoints where (model, version) is READY; an empty `model` asks for any live endpoint.

        Those with an open connection are preferred: one that only reconnects is used when nothing else is left. The
        same endpoints with the same weights are the same tuple, by which pickers remember what they derived from it.
        """
        key = (model, version)
        found = self._candidates.get(key)
        if found is None:
            found = self._find(model, version)
            if len(self._candidates) >= REMEMBERED_CANDIDATES:
                self._candidates.clear()
            found = self._candidates[key] = self._same(found)
        return found

    def _same(self, found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        if len(self._sets) >= REMEMBERED_SETS:
            self._sets.clear()
        return self._sets.setdefault((found, tuple(endpoint.weight for endpoint in found)), found)

    def _find(self, model: str, version: str) -> tuple[Endpoint, ...]:
        live = [endpoint for endpoint in self.endpoints if endpoint.live]
        serving = [endpoint for endpoint in live if not model or endpoint.serves(model, version)]
        return tuple(endpoint for endpoint in serving if endpoint.channel.connected) or tuple(serving)

    def choose(self, call: Call) -> Endpoint:
        """The endpoint for this call. Raises `GatewayError` that says why there is none."""
        candidates = self._candidates.get((call.model, call.version))
        if candidates is None:
            candidates = self.candidates(call.model, call.version)
        if call.sequence:
            return self._choose_for_sequence(call, candidates)
        if self.health.out:
            candidates = self._healthy(candidates, call)
        if call.tried:
            candidates = self._untried(candidates, call)
        if not candidates:
            raise self.why_not(call.model, call.version)
        if len(candidates) == 1:
            return candidates[0]
        return self._picker.pick(candidates, call)

    def _choose_for_sequence(self, call: Call, candidates: tuple[Endpoint, ...]) -> Endpoint:
        """Where the state of the sequence is, healthy or not; one that starts begins where calls succeed."""
        broken = call.sequence_start and self.health.out > 0
        if broken:
            candidates = self._healthy(candidates, call)
        chosen = self.sequences.choose(call, candidates, broken)
        if chosen is None:
            self._untried(candidates, call)
            raise self.why_not(call.model, call.version)
        return chosen

    async def _load(self, call: Call, error: NotLoaded) -> Endpoint:
        """The endpoint for this call when its model is loaded. It may be unloaded again before its turn comes."""
        while True:
            if self.loader is None:
                raise error
            await self.loader(call, error)
            call.tried = ()
            try:
                return self.choose(call)
            except NotLoaded as again:
                error = again

    def _healthy(self, candidates: tuple[Endpoint, ...], call: Call) -> tuple[Endpoint, ...]:
        """Those that no breaker keeps away. Raises `GatewayError` when none is left."""
        if not candidates:
            return candidates
        left = self.health.passable(candidates, call)
        if not left:
            text = f"no endpoint of pool '{self.name}' is fit for model '{call.model}': calls to all of them failed"
            after = self.health.retry_after(candidates, call)
            raise AllBroken(Code.UNAVAILABLE, text, fault=Fault.WORKER, retry_after=after)
        return left

    def _untried(self, candidates: tuple[Endpoint, ...], call: Call) -> tuple[Endpoint, ...]:
        """Those where the call was not yet. Raises `NoOther` when there are none."""
        left = tuple(endpoint for endpoint in candidates if endpoint not in call.tried)
        if candidates and not left:
            text = f"no other endpoint of pool '{self.name}' has model '{call.model}'"
            raise NoOther(Code.UNAVAILABLE, text, fault=Fault.WORKER)
        return left

    async def forward(self, call: Call) -> Reply:
        """Send the call to an endpoint; to another one when the first provably did not execute it, or if there is none
        and only a connection ended, to the same."""
        if call.prepare is not None:
            await call.prepare(self, call)
        if call.exchange is not None:
            return await self._converse(call, call.exchange)
        attempts = 0
        health = self.health
        self.busy_budget.requests += 1
        while True:
            attempts += 1
            try:
                endpoint = self.choose(call)
            except NotLoaded as unloaded:
                endpoint = await self._load(call, unloaded)
            call.endpoint = endpoint
            call.attempts += 1
            if health.out:
                health.sent(call, endpoint)
            lease = endpoint.take(call)
            try:
                reply = await endpoint.channel.unary(call)
            except GatewayError as error:
                self._failed(call, endpoint, error)
                lease.release()
                await self._go_on(call, endpoint, error, attempts)
            else:
                endpoint.outcomes["ok"] += 1
                lease.release(ok=True)
                if health.watched:
                    health.succeeded(call, endpoint)
                if call.sequence:
                    self.sequences.succeeded(call)
                return reply
            finally:
                lease.release()
                if health.out:
                    health.ended(call, endpoint)

    def _failed(self, call: Call, endpoint: Endpoint, error: GatewayError) -> None:
        endpoint.outcomes[error.fault.name.lower()] += 1
        self.judge(call, endpoint, error)
        if call.sequence and (lost := self.sequences.lost_by(call, endpoint, error)) is not None:
            lost.__cause__ = error  # mypyc forgets what stands behind `from`
            raise lost

    def judge(self, call: Call, endpoint: Endpoint, error: GatewayError | None) -> None:
        """What became of a call at an endpoint tells of the health there; None is a good answer."""
        if error is not None:
            if died(error):
                call.deaths += 1
            elif self.on_stale is not None and is_stale(endpoint, error):
                self.on_stale(self.name, endpoint.address)
            self.health.failed(call, endpoint, error, self.candidates(call.model, call.version))
        elif self.health.watched:
            self.health.succeeded(call, endpoint)

    async def _converse(self, call: Call, exchange: Exchange) -> Reply:
        """The same for a call that a stream answers: begin its exchange, as long as that is not spent, where it would
        rather be or where this pool chooses. What becomes of the answer after its first message is for the exchange to
        say, by `judge` and in the endpoint's outcomes."""
        attempts = 0
        self.busy_budget.requests += 1
        while True:
            attempts += 1
            endpoint = exchange.at(self, call)
            if endpoint is None:
                try:
                    endpoint = self.choose(call)
                except NotLoaded as unloaded:
                    endpoint = await self._load(call, unloaded)
            call.endpoint = endpoint
            call.attempts += 1
            if self.health.out:
                self.health.sent(call, endpoint)
            try:
                await exchange.ask(self, call, endpoint)
            except GatewayError as error:
                self._failed(call, endpoint, error)
                await self._go_on(call, endpoint, error, attempts)
            else:
                if self.health.watched:
                    self.health.succeeded(call, endpoint)
                return Reply(b"", endpoint)
            finally:
                if self.health.out:
                    self.health.ended(call, endpoint)

    async def _go_on(self, call: Call, endpoint: Endpoint, error: GatewayError, attempts: int) -> None:
        """Return when the call may be sent once more, after so many attempts here. Raises the error if not."""
        if attempts >= MAX_ATTEMPTS:
            raise error
        if self.may_send_again(call, endpoint, error):
            return
        if self.loader is None or self.on_stale is None or not is_stale(endpoint, error):
            raise error
        await self.on_stale(self.name, endpoint.address)
        call.tried = ()  # it is loaded, there or elsewhere

    def may_send_again(self, call: Call, endpoint: Endpoint, error: GatewayError) -> bool:
        """After this failure at `endpoint`: is there where to send the call? Then `choose` gives it. Counts a retry."""
        if error.executed or (call.exchange is not None and call.exchange.spent):
            return False
        if error.fault is not Fault.BUSY and error.fault is not Fault.WORKER and not is_stale(endpoint, error):
            return False
        call.tried = (*call.tried, endpoint)
        if not self._has_other(call):
            if not isinstance(error, NotTaken):
                return False
            call.tried = ()
        if error.fault is Fault.BUSY and not self.busy_budget.take():
            return False
        if self._on_retry:
            self._on_retry(call.route, error.fault.name.lower())
        return True

    def _has_other(self, call: Call) -> bool:
        candidates = self.candidates(call.model, call.version)
        if self.health.out and (not call.sequence or call.sequence_start):
            candidates = self.health.passable(candidates, call)
        return any(other not in call.tried for other in candidates)

    def why_not(self, model: str, version: str) -> GatewayError:
        """The answer when no endpoint may take (model, version), in Triton's words where it has them."""
        live = self.live
        if not live:
            return GatewayError(
                Code.UNAVAILABLE, f"no endpoint of pool '{self.name}' is live", fault=Fault.WORKER, retry_after=1.0
            )
        known = [endpoint.inventory[model] for endpoint in live if model in endpoint.inventory]
        if not known:
            return unknown_model(model)
        states = {state.state for versions in known for state in versions.values()}
        error = self._why_not_ready(model, version, known)
        return error if READY in states else NotLoaded.of(error)

    def _why_not_ready(self, model: str, version: str, known: list[Mapping[str, ModelState]]) -> GatewayError:
        asked = [state for versions in known for name, state in versions.items() if version in ("", name)]
        if version and not asked:
            return unknown_model(model, version)
        states = {state.state for state in asked}
        if "LOADING" in states and READY not in states:
            return GatewayError(Code.UNAVAILABLE, f"model '{model}' {LOADING}", fault=Fault.WORKER, retry_after=1.0)
        failures = [each.reason for each in asked if each.state == "UNAVAILABLE" and each.reason not in ("", UNLOADED)]
        if failures:
            return does_not_load(model, " ".join(failures[0].split())[:REASON_LETTERS], 1.0)
        if version:
            text = f"Request for unknown model: '{model}' version {version} is not at ready state"
            return GatewayError(Code.UNAVAILABLE, text, fault=Fault.WORKER, retry_after=1.0)
        return GatewayError(Code.NOT_FOUND, f"Request for unknown model: '{model}' has no available versions")


def is_stale(endpoint: Endpoint, error: GatewayError) -> bool:
    """Does the endpoint say that it does not have what its inventory has?"""
    return endpoint.known and not error.executed and missing(error.message)


def unknown_model(model: str, version: str = "") -> GatewayError:
    """NOT_FOUND with the words of Triton, which clients look for."""
    suffix = f" version {version}" if version else ""
    return GatewayError(Code.NOT_FOUND, f"Request for unknown model: '{model}'{suffix} is not found")
