"""What is counted of the store. The gateway puts cells of its metrics in; by themselves they count for nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Cell(Protocol):
    """A counter or a gauge."""

    value: float


class Histogram(Protocol):
    """Takes values in seconds."""

    def observe(self, value: float) -> None:
        """Count it."""
        ...


class Unseen:
    """A cell and a histogram that nobody reads."""

    def __init__(self) -> None:
        self.value: float = 0

    def observe(self, value: float) -> None:
        """Forget it."""


def _unseen(reason: str) -> Unseen:
    return Unseen()


@dataclass(slots=True)
class Meter:
    """Commands sent; errors by `StateError.reason`; seconds until all that travelled together was answered; 1 while the
    store is up."""

    commands: Cell = field(default_factory=Unseen)
    errors: Callable[[str], Cell] = _unseen
    seconds: Histogram = field(default_factory=Unseen)
    up: Cell = field(default_factory=Unseen)
