"""Which loads of models this or another control knew before, in the store: an answer that is kept there outlives a
restart of all gateways, and must not outlive a load of its model that happens meanwhile.

`cache:loads:{address}` has for each model version the number of its load and its use since then, as `Inventory` counts
it. A control that starts takes a load for the same if its use has only grown, and was not nothing: an answer that is
kept was used once. Records are a help and no more: without them each load that a control meets first is another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.control.inventory import Key, Record, Used
from gateway.tasks import spawn
from gateway.world import EndpointState
from state import State, StateError

PATIENCE = 1.0
"""Seconds that the first poll of an endpoint waits for a store that may just be starting."""
GAP = 2.0
"""Seconds from one writing to the next for one endpoint, if nothing was loaded."""
KEPT_DAYS = 7


class _Written(NamedTuple):
    at: float
    loads: Mapping[Key, int]
    used: Used


class LoadRecords:
    """The records of all endpoints."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._written: dict[str, _Written] = {}

    async def read(self, address: str) -> dict[Key, Record]:
        """What is known of the loads at an endpoint; nothing if the store is away."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not self._state.up:  # noqa: ASYNC110 - it is a plain attribute
                    await asyncio.sleep(0.02)
            found = await self._state.do("HGETALL", self._name(address))
        except (TimeoutError, StateError):
            return {}
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        return {key: record for field, value in pairs for key, record in _decoded(field, value)}

    def note(self, state: EndpointState, used: Used) -> None:
        """A poll found this: write down what is new, behind the caller's back."""
        if not self._state.up:
            return
        now = asyncio.get_running_loop().time()
        loads = {(name, version): one.load for name, each in state.models.items() for version, one in each.items()}
        before = self._written.get(state.address, _Written(-GAP, {}, {}))
        if loads == before.loads and (used == before.used or now < before.at + GAP):
            return
        self._written[state.address] = _Written(now, loads, used)
        changed = [key for key, load in loads.items() if load and key in used and _differs(key, load, used, before)]
        if changed:
            spawn(self._write(state.address, {key: Record(loads[key], used[key]) for key in changed}), "loads")

    async def _write(self, address: str, records: Mapping[Key, Record]) -> None:
        name = self._name(address)
        words = [word for key, record in records.items() for word in (_field(key), _value(record))]
        try:
            await self._state.do("HSET", name, *words)
            await self._state.do("EXPIRE", name, KEPT_DAYS * 86_400)
        except StateError:
            self._written.pop(address, None)  # the next poll says it again

    def _name(self, address: str) -> str:
        return self._state.key("cache", "loads", address)


def _differs(key: Key, load: int, used: Used, before: _Written) -> bool:
    return before.loads.get(key) != load or before.used.get(key) != used[key]


def _field(key: Key) -> str:
    return f"{key[1]} {key[0]}"


def _value(record: Record) -> str:
    return " ".join(map(str, (record.load, *record.used)))


def _decoded(field: bytes, value: bytes) -> Iterator[tuple[Key, Record]]:
    """One record, or none if it is not one."""
    version, _, model = field.decode(errors="replace").partition(" ")
    words = value.split()
    if model and len(words) > 1 and all(word.isdigit() and len(word) < 20 for word in words):
        load, *used = map(int, words)
        yield (model, version), Record(load, tuple(used))
