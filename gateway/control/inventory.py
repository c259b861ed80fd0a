"""From the polls of an endpoint to its state: pure, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from config.schema import Readiness
from gateway.world import EndpointState, ModelVersion

Models = Mapping[str, Mapping[str, ModelVersion]]


class Poll(msgspec.Struct, frozen=True):
    """One poll: was the server live, and which models did its index name. `models` is None if the index was not read;
    `reason` says why one or the other failed. `told`: the server itself said that it is not live. `renewed`: the
    connection is not that of the poll before, so that another process may answer now."""

    live: bool
    models: dict[str, dict[str, ModelVersion]] | None = None
    reason: str = ""
    told: bool = False
    renewed: bool = False


class Inventory:
    """The state of one endpoint. The first poll decides; then it takes `failures` failed polls in a row to take the
    endpoint out, or its own word, and `successes` good ones to bring it back. The last known models stay while it is
    out, so that "no endpoint" and "unknown model" remain different answers.

    A server that was away, or is reached on another connection, may be another process, which has other models: until
    an index was read again, what is known of it is not `trusted`, and it does not come back.
    """

    def __init__(self, address: str, readiness: Readiness) -> None:
        self.state = EndpointState(address, live=False, reason="not polled yet")
        self._readiness = readiness
        self._polled = False
        self._against = 0
        self._moving = False
        self.trusted = False

    def observe(self, poll: Poll) -> bool:
        """Take in the result of a poll. True if the workers need to know: liveness or a model's state changed."""
        before = self.state
        self.trusted = poll.models is not None or (self.trusted and poll.live and not poll.renewed)
        live = self._decide(poll.live and (self.trusted or not before.known), poll.told)
        if poll.models is not None:
            self._moving = any(
                one.state in ("LOADING", "UNLOADING") for versions in poll.models.values() for one in versions.values()
            )
        self.state = EndpointState(
            before.address,
            live=live,
            known=before.known or poll.models is not None,
            models=before.models if poll.models is None else poll.models,
            reason=poll.reason,
        )
        first, self._polled = not self._polled, True
        return first or _told(before) != _told(self.state)

    @property
    def settled(self) -> bool:
        """It is live, its models are known, and none is on its way from one state to another."""
        return self.state.live and self.trusted and not self._moving

    def _decide(self, live: bool, told: bool) -> bool:
        if live == self.state.live:
            self._against = 0
            return live
        self._against += 1
        needed = self._readiness.successes if live else self._readiness.failures
        if self._polled and self._against < needed and not told:
            return self.state.live
        self._against = 0
        return live


def _told(state: EndpointState) -> tuple[bool, bool, Models]:
    """What workers act upon. Another reason for the same is not worth a new snapshot."""
    return state.live, state.known, state.models
