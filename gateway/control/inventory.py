"""From the polls of an endpoint to its state: pure, no clock, no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from config.schema import Readiness
from gateway.world import EndpointState, ModelVersion

Models = Mapping[str, Mapping[str, ModelVersion]]
Key = tuple[str, str]
"""A model's name and version."""
Used = Mapping[Key, tuple[int, ...]]
"""What a model version was used since it was loaded: numbers that only grow, how often first."""


class Record(NamedTuple):
    """The number of a load, and what it was used since."""

    load: int
    used: tuple[int, ...]


class Poll(msgspec.Struct, frozen=True):
    """One poll: was the server live, and which models did its index name. `models` is None if the index was not read;
    `reason` says why one or the other failed. `told`: the server itself said that it is not live. `renewed`: the
    connection is not that of the poll before, so that another process may answer now. `used` is None if the server does
    not say."""

    live: bool
    models: dict[str, dict[str, ModelVersion]] | None = None
    reason: str = ""
    used: dict[Key, tuple[int, ...]] | None = None
    told: bool = False
    renewed: bool = False


def new_load() -> int:
    """A number that no load had before, nor one that another control saw: microseconds since 1970."""
    return time.time_ns() // 1000


class Inventory:
    """The state of one endpoint. The first poll decides; then it takes `failures` failed polls in a row to take the
    endpoint out, or its own word, and `successes` good ones to bring it back. The last known models stay while it is
    out, so that "no endpoint" and "unknown model" remain different answers.

    A server that was away, or is reached on another connection, may be another process, which has other models: until
    an index was read again, what is known of it is not `trusted`, and it does not come back.

    It tells the loads of a model version apart, each of which has a number. Another one begins when it was not READY
    before; when it is said to be `reloaded`, since an index does not show that; and when its use counts less than it
    did, be it since somebody else had it loaded again or since the server is a new process. Without such counts any
    server that was away may be a new process.
    """

    def __init__(self, address: str, readiness: Readiness, load: Callable[[], int] = new_load) -> None:
        self.state = EndpointState(address, live=False, reason="not polled yet")
        self._readiness = readiness
        self._polled = False
        self._against = 0
        self._moving = False
        self.trusted = False
        self._load = load
        self._used: Used = {}
        self._reloaded: set[str] = set()
        self._recorded: Mapping[Key, Record] = {}

    @property
    def used(self) -> Used:
        """What the last index told."""
        return self._used

    def remember(self, recorded: Mapping[Key, Record]) -> None:
        """What was known of its loads before this process: what was used since and counts on is still that load."""
        self._recorded = recorded

    def reloaded(self, model: str) -> None:
        """This model was loaded again, whether or not a poll shows it."""
        self._reloaded.add(model)

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
            models=before.models if poll.models is None else self._with_loads(poll.models, poll.used),
            reason=poll.reason,
        )
        first, self._polled = not self._polled, True
        return first or _told(before) != _told(self.state)

    @property
    def settled(self) -> bool:
        """It is live, its models are known, and none is on its way from one state to another."""
        return self.state.live and self.trusted and not self._moving

    def _with_loads(self, models: Models, used: Used | None) -> dict[str, dict[str, ModelVersion]]:
        away = used is None and not self.state.live
        known: Models = {} if away else self.state.models
        told = {
            name: {
                version: self._with_load((name, version), one, known.get(name, {}).get(version), used)
                for version, one in versions.items()
            }
            for name, versions in models.items()
        }
        self._used = used or {}
        self._recorded = {}
        self._reloaded.clear()
        return told

    def _with_load(self, key: Key, one: ModelVersion, before: ModelVersion | None, used: Used | None) -> ModelVersion:
        if one.state != "READY":
            return one
        record, counts = self._recorded.get(key), (used or {}).get(key)
        if record is not None and counts is not None and key[0] not in self._reloaded and _goes_on(record, counts):
            return msgspec.structs.replace(one, load=record.load)
        if before is None or before.state != "READY" or key[0] in self._reloaded or self._counts_anew(key, used):
            return msgspec.structs.replace(one, load=self._load())
        return before if before.reason == one.reason else msgspec.structs.replace(one, load=before.load)

    def _counts_anew(self, key: Key, used: Used | None) -> bool:
        counts, before = (used or {}).get(key), self._used.get(key)
        if counts is None or before is None:
            return False
        return any(count < earlier for count, earlier in zip(counts, before, strict=True))

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


def _goes_on(record: Record, counts: tuple[int, ...]) -> bool:
    """Has what was used since the load of this record only grown?"""
    used = record.used
    return len(used) == len(counts) and used[0] > 0 and all(now >= then for now, then in zip(counts, used, strict=True))
