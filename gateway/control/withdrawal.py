"""Takes a model at an endpoint out of use before it is unloaded, without a request that fails.

The workers are told that the model is on its way out there. When each of them has taken that over, and the load board
says that none has a request for it there, nobody will send another: then it may go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from gateway.world import EndpointState, ModelVersion
from routing.load_board import LoadBoard

REACH_TIMEOUT = 2.0
"""Seconds that workers have to take a World over."""
END_TIMEOUT = 5.0
"""Seconds that requests have to end; one that lasts keeps its model."""
BOARD_POLL = 0.005
OUT = "UNLOADING"

Pools = Mapping[str, tuple[EndpointState, ...]]


class Generations:
    """Which World each worker has taken over."""

    def __init__(self, lagging: Callable[[int], bool]) -> None:
        self._lagging = lagging
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """A worker took one over, or went."""
        self._changed.set()

    async def reached(self, generation: int) -> bool:
        """True when all workers have this one, or a later one; False after a bounded time."""
        try:
            async with asyncio.timeout(REACH_TIMEOUT):
                while self._lagging(generation):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


class Withdrawals:
    """What is out of use. `publish` tells the workers and returns the number of that World; `reached` waits for it."""

    def __init__(self, board: LoadBoard, publish: Callable[[], int], reached: Callable[[int], Awaitable[bool]]) -> None:
        self._board = board
        self._publish = publish
        self._reached = reached
        self._out: dict[tuple[str, str], int] = {}
        self._told: dict[str, EndpointState] = {}

    def over(self, pools: Pools) -> dict[str, tuple[EndpointState, ...]]:
        """These states, with what is out of use shown as such; they are what the workers are told."""
        told = {name: tuple(map(self._over, states)) for name, states in pools.items()}
        self._told |= {state.address: state for states in told.values() for state in states}
        return told

    def _over(self, state: EndpointState) -> EndpointState:
        if not any((state.address, model) in self._out for model in state.models):
            return state
        models = {
            model: {name: msgspec.structs.replace(version, state=OUT) for name, version in versions.items()}
            if (state.address, model) in self._out
            else versions
            for model, versions in state.models.items()
        }
        return msgspec.structs.replace(state, models=models)

    async def withdraw(self, address: str, model: str) -> bool:
        """Take a model out of use. True when no request of this gateway is there or will come."""
        key = (address, model)
        self._out[key] = self._out.get(key, 0) + 1
        slots = slots_of(self._told.get(address), model)
        return await self._reached(self._publish()) and await self.ended(slots)

    def restore(self, address: str, model: str) -> None:
        """Take one `withdraw` back."""
        key = (address, model)
        left = self._out.get(key, 0) - 1
        if left > 0:
            self._out[key] = left
        elif self._out.pop(key, None) is not None:
            self._publish()

    async def left(self, address: str) -> None:
        """Return when the workers know that this address is no endpoint any more and none has a request there."""
        state = self._told.pop(address, None)
        await self._reached(self._publish())
        while state is not None and state.slot >= 0 and self._board.in_flight(state.slot) > 0:  # noqa: ASYNC110 - other processes write it
            await asyncio.sleep(BOARD_POLL)

    async def ended(self, slots: list[int]) -> bool:
        """Wait until nothing is in flight in these rows of the board. False after a bounded time."""
        try:
            async with asyncio.timeout(END_TIMEOUT):
                while any(self._board.in_flight(slot) > 0 for slot in slots):  # noqa: ASYNC110 - other processes write it
                    await asyncio.sleep(BOARD_POLL)
        except TimeoutError:
            return False
        return True

    def in_flight(self, address: str, model: str) -> int:
        """Requests of this gateway for a model there."""
        return sum(self._board.in_flight(slot) for slot in slots_of(self._told.get(address), model))

    def wait(self, address: str) -> float:
        """Seconds of work there: this gateway's, and others' as last read."""
        state = self._told.get(address)
        if state is None or state.slot < 0:
            return 0.0
        return self._board.seconds(state.slot) + self._board.foreign(state.slot)


def slots_of(state: EndpointState | None, model: str) -> list[int]:
    """The rows of the versions of a model at an endpoint."""
    versions: Mapping[str, ModelVersion] = state.models.get(model, {}) if state is not None else {}
    return [version.slot for version in versions.values() if version.slot >= 0]
