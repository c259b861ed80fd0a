"""What control keeps of one endpoint, by its address: the rows of the load board and what its metrics page says.

An endpoint that is in two pools is one endpoint: it has one row and one page, and its load counts for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from config.schema import Metrics as Settings
from gateway.control.ensembles import Ensembles
from gateway.control.load import Load, ModelLoad
from gateway.control.metrics_page import Gpu, Key
from gateway.control.scraper import Scraper
from gateway.control.slots import Slots
from gateway.world import ModelVersion
from routing.load_board import LoadBoard

READY = "READY"

Models = dict[str, dict[str, ModelVersion]]


class Source(NamedTuple):
    """Where the metrics page of an endpoint is, and how it is read."""

    address: str
    settings: Settings


class Entry:
    """One endpoint. `task` runs the scraper, if it has a page."""

    def __init__(self, address: str, slots: Slots, board: LoadBoard) -> None:
        self.address = address
        self.slot = slots.allot((address,))
        self.keys: dict[Key, int] = {}
        self.live = False
        self.ensembles = Ensembles(self._versions)
        self.source: Source | None = None
        self.scraper: Scraper | None = None
        self.task: asyncio.Task[None] | None = None
        self.configuring = False
        self.configure_at = 0.0
        self._slots = slots
        self._board = board
        self._models: list[Models] = []
        self._told: list[Models] = []

    def take(self, models: list[Models]) -> list[Models]:
        """The models of this endpoint, in each pool that it is in, with their rows. Those that are no longer READY give
        theirs back."""
        if len(models) != len(self._models) or any(a is not b for a, b in zip(models, self._models, strict=True)):
            self._models = models
            self._allot({key for each in models for key in ready(each)})
            self._told = [self._with_rows(each) for each in models]
        return self._told

    def _allot(self, keys: set[Key]) -> None:
        for key in self.keys.keys() - keys:
            self._slots.release((self.address, *key))
        fresh = keys - self.keys.keys()
        self.keys = {key: self._slots.allot((self.address, *key)) for key in sorted(keys)}
        if self.scraper is not None and self.scraper.at:
            self.publish(fresh, self.scraper.at)

    def _with_rows(self, models: Models) -> Models:
        return {
            name: {
                version: msgspec.structs.replace(state, slot=self.keys[name, version])
                if (name, version) in self.keys and state.state == READY
                else state
                for version, state in versions.items()
            }
            for name, versions in models.items()
        }

    @property
    def busy(self) -> bool:
        """This node has something in flight here."""
        return self.slot >= 0 and self._board.in_flight(self.slot) > 0

    def own(self) -> Mapping[Key, float]:
        """What this node has in flight here, without the models that have nothing. What is at an ensemble is at its
        steps, too."""
        if not self.busy:
            return {}
        board = self._board
        own = {key: float(count) for key, slot in self.keys.items() if slot >= 0 and (count := board.in_flight(slot))}
        return self.ensembles.spread(own, self.scraper.load.models) if self.scraper is not None else own

    def publish(self, touched: set[Key], now: float) -> None:
        """Put what a page said at `now` on the board."""
        if self.scraper is None:
            return
        models = self.scraper.load.models
        for key in touched | self.ensembles.known:  # their queue is that of others
            slot = self.keys.get(key, -1)
            if slot >= 0:
                self._publish(slot, self.ensembles.load(key, models), now)
        if self.slot >= 0:
            self._publish(self.slot, self.total(), now)

    def _publish(self, slot: int, load: Load, now: float) -> None:
        self._board.publish(
            slot, pending=load.pending, service=load.service, foreign=load.foreign, at=now, own_at=load.own
        )

    def model(self, key: Key) -> ModelLoad | None:
        """What the page says of a model version, if anything."""
        return self.scraper.load.models.get(key) if self.scraper is not None else None

    def load(self, key: Key) -> Load:
        """That of a model version, by the page; nothing if it says nothing."""
        return self.ensembles.load(key, self.scraper.load.models) if self.scraper is not None else Load()

    def total(self) -> Load:
        """That of all models together."""
        if self.scraper is None:
            return Load()
        return self.ensembles.total(self.scraper.load, self._board.in_flight(self.slot) if self.slot >= 0 else 0.0)

    def _versions(self, model: str) -> set[str]:
        return {version for models in self._models for version in models.get(model, ())}

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """As the last page said."""
        return self.scraper.gpus if self.scraper is not None else ()


def ready(models: Models) -> list[Key]:
    """The versions that are READY."""
    return [(name, version) for name, each in models.items() for version, one in each.items() if one.state == READY]
