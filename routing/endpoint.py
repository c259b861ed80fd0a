"""One backend server: its address, its channel, what control knows of it, and its load from this worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from routing.call import Call, Reply
    from routing.connectors.streaming import StreamAttempt, StreamSink

READY = "READY"


class ModelState(Protocol):
    """The state of one model version on one endpoint: READY, LOADING, UNLOADING, UNAVAILABLE or UNKNOWN."""

    @property
    def state(self) -> str:
        """Triton's name of the state."""
        ...

    @property
    def reason(self) -> str:
        """Triton's own words, "" when there is nothing to say."""
        ...


Inventory = Mapping[str, Mapping[str, ModelState]]


class Channel(Protocol):
    """Warm connections to one endpoint; `routing.connectors.grpc_h2` is the real one."""

    @property
    def connected(self) -> bool:
        """A request can be written right now."""
        ...

    def hurry(self) -> None:
        """Connect soon: the endpoint is known to be back."""
        ...

    def unary(self, call: Call) -> Awaitable[Reply]:
        """Send one message, get one back."""
        ...

    async def stream(
        self, path: bytes, sink: StreamSink, *, metadata: bytes = b"", deadline: float | None = None
    ) -> StreamAttempt:
        """Open a stream whose messages go to `sink`."""
        ...


class Endpoint:
    """An address with live load, inventory and health.

    `in_flight` counts what this worker sent and did not get back; `outcomes` counts how calls ended, by "ok" or whose
    fault the error was.
    """

    __slots__ = ("address", "channel", "in_flight", "inventory", "known", "live", "outcomes", "reason")

    def __init__(self, address: str, channel: Channel) -> None:
        self.address = address
        self.channel = channel
        self.in_flight = 0
        self.outcomes: Counter[str] = Counter()
        self.live = False
        self.known = False
        self.reason = "not polled yet"
        self.inventory: Inventory = {}

    def serves(self, model: str, version: str) -> bool:
        """Is (model, version) READY here? Any version when `version` is ""; yes while the inventory is not known."""
        if not self.known:
            return True
        versions = self.inventory.get(model)
        if not versions:
            return False
        if version:
            state = versions.get(version)
            return state is not None and state.state == READY
        return any(state.state == READY for state in versions.values())

    def __repr__(self) -> str:
        health = "live" if self.live else f"down: {self.reason}"
        return f"<Endpoint {self.address} {health}, {self.in_flight} in flight>"
