"""A pool: endpoints of one kind, and the choice among them.

Who may take a call changes only when control says something new or a connection comes or goes, so candidates are kept
per (model, version) and forgotten at such a change; a request pays one dict lookup and the picker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from routing.call import Call, Reply
from routing.connectors.outcome import NotTaken
from routing.endpoint import READY, Endpoint
from routing.pickers import Picker
from transcoding.status import Code, Fault, GatewayError

if TYPE_CHECKING:
    from routing.connectors.streaming import StreamAttempt, StreamSink

MAX_ATTEMPTS = 3
REMEMBERED_CANDIDATES = 65_536
REMEMBERED_SETS = 4096


class Health(Protocol):
    """Who is passed over because calls there failed: `routing.health`. While `out` is 0, nobody is."""

    out: int

    def passable(self, candidates: tuple[Endpoint, ...], model: str, version: str) -> tuple[Endpoint, ...]:
        """Of the endpoints that have the model, those to choose from."""
        ...


class Pool:
    """Endpoints with a picker; `forward` is the handler at the end of a chain."""

    def __init__(self, name: str, picker: Picker, on_retry: Callable[[str, str], None] | None = None) -> None:
        self.name = name
        self.endpoints: tuple[Endpoint, ...] = ()
        self._picker = picker
        self._on_retry = on_retry
        self._candidates: dict[tuple[str, str], tuple[Endpoint, ...]] = {}
        self._sets: dict[tuple[tuple[Endpoint, ...], tuple[float, ...]], tuple[Endpoint, ...]] = {}
        self._generation = 0
        self.health: Health | None = None

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """The endpoints from now on, in the order of the configuration."""
        self.endpoints = tuple(endpoints)
        self._sets.clear()
        self.changed()

    def changed(self) -> None:
        """Something about an endpoint changed: forget who may take what."""
        self._candidates.clear()
        self._generation += 1

    @property
    def wants(self) -> str:
        """What `Call.hash_key` is to be for the picker: `Picker.wants`."""
        return self._picker.wants

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
        if call.tried:
            candidates = tuple(endpoint for endpoint in candidates if endpoint not in call.tried)
        health = self.health
        if health is not None and health.out:
            candidates = health.passable(candidates, call.model, call.version)
        if not candidates:
            raise self.why_not(call.model, call.version)
        if len(candidates) == 1:
            return candidates[0]
        if call.sequence:
            return by_sequence(candidates, call.model, call.sequence)
        return self._picker.pick(candidates, call)

    async def forward(self, call: Call) -> Reply:
        """Send the call to an endpoint; to another one when the first provably did not execute it, or if there is none
        and only a connection ended, to the same."""
        attempts = 0
        while True:
            attempts += 1
            endpoint = self.choose(call)
            call.endpoint = endpoint
            lease = endpoint.take(call)
            try:
                reply = await endpoint.channel.unary(call)
            except GatewayError as error:
                endpoint.outcomes[error.fault.name.lower()] += 1
                if attempts >= MAX_ATTEMPTS or not self.may_send_again(call, endpoint, error):
                    raise
            else:
                endpoint.outcomes["ok"] += 1
                lease.release(ok=True)
                return reply
            finally:
                lease.release()

    async def stream(self, call: Call, sink: StreamSink) -> tuple[Endpoint, StreamAttempt]:
        """Open a stream for this call at an endpoint, or at another one when the first cannot be reached. Its requests
        are the caller's to send, each with a lease of the endpoint. Raises `GatewayError`."""
        attempts = 0
        while True:
            attempts += 1
            endpoint = self.choose(call)
            try:
                attempt = await endpoint.channel.stream(
                    call.method.path, sink, metadata=call.metadata, deadline=call.deadline
                )
            except GatewayError as error:
                endpoint.outcomes[error.fault.name.lower()] += 1
                if attempts >= MAX_ATTEMPTS or not self.may_send_again(call, endpoint, error):
                    raise
            else:
                return endpoint, attempt

    def may_send_again(self, call: Call, endpoint: Endpoint, error: GatewayError) -> bool:
        """After this failure at `endpoint`: is there where to send the call? Then `choose` gives it. Counts a retry."""
        if error.executed or error.fault not in (Fault.BUSY, Fault.WORKER):
            return False
        call.tried = (*call.tried, endpoint)
        if all(other in call.tried for other in self.candidates(call.model, call.version)):
            if not isinstance(error, NotTaken):
                return False
            call.tried = ()
        if self._on_retry:
            self._on_retry(self.name, error.fault.name.lower())
        return True

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
        if version:
            states = {versions[version].state for versions in known if version in versions}
            if not states:
                return unknown_model(model, version)
        if "LOADING" in states and READY not in states:
            return GatewayError(Code.UNAVAILABLE, f"model '{model}' is loading", fault=Fault.WORKER, retry_after=1.0)
        if version:
            text = f"Request for unknown model: '{model}' version {version} is not at ready state"
            return GatewayError(Code.UNAVAILABLE, text, fault=Fault.WORKER, retry_after=1.0)
        return GatewayError(Code.NOT_FOUND, f"Request for unknown model: '{model}' has no available versions")


def unknown_model(model: str, version: str = "") -> GatewayError:
    """NOT_FOUND with the words of Triton, which clients look for."""
    suffix = f" version {version}" if version else ""
    return GatewayError(Code.NOT_FOUND, f"Request for unknown model: '{model}'{suffix} is not found")


def by_sequence(candidates: tuple[Endpoint, ...], model: str, sequence: str) -> Endpoint:
    """The same endpoint for all requests of a sequence, in every worker, without shared state.

    Rendezvous hashing (Thaler and Ravishankar 1998): an endpoint that leaves moves only its own sequences.
    """
    key = f"{model}\0{sequence}\0".encode()
    return max(candidates, key=lambda endpoint: blake2b(key + endpoint.address.encode(), digest_size=8).digest())
