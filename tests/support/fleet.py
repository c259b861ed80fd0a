"""Endpoints on a load board under a clock that stands until it is moved."""

from __future__ import annotations

import random

from routing.aperture import Aperture
from routing.endpoint import Endpoint
from routing.fleet import Fleet
from routing.load_board import LoadBoard
from routing.pickers import Tools
from tests.support.pools import ScriptedChannel, State

KEY = ("m", "1")
OTHER = ("n", "1")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Node:
    """One worker of a gateway: `endpoints` have the slots 0, 1, …; models m and n of endpoint e those after them."""

    def __init__(self, count: int, board: LoadBoard | None = None, worker: int = 0) -> None:
        self.clock = Clock()
        self.board = board or LoadBoard.create(None, 3 * count, 2)
        self.fleet = Fleet(self.board, worker, self.clock)
        self.aperture = Aperture()
        self.tools = Tools(self.fleet, self.aperture, random.Random(1))
        self.endpoints = tuple(self._endpoint(number, count) for number in range(count))

    def _endpoint(self, number: int, count: int) -> Endpoint:
        endpoint = Endpoint(f"{number}:1", ScriptedChannel(), self.fleet)
        models = {
            "m": {"1": State("READY", slot=count + 2 * number)},
            "n": {"1": State("READY", slot=count + 2 * number + 1)},
        }
        endpoint.learn(True, True, "", models, number)
        return endpoint

    def slot(self, number: int, model: str = "m") -> int:
        """The row of a model at an endpoint."""
        return self.endpoints[number].inventory[model]["1"].slot

    def serve(self, seconds: float, *numbers: int, model: str = "m") -> None:
        """Publish a service time at some endpoints, or at all."""
        for number in numbers or range(len(self.endpoints)):
            self.board.publish(self.slot(number, model), service=seconds, at=self.clock.now)

    def others(self, number: int, seconds: float) -> None:
        """Publish that others have so much work there now."""
        self.board.publish(number, foreign=seconds, at=self.clock.now)

    def wait(self, number: int = 0, key: tuple[str, str] = KEY) -> float:
        """What endpoint `number` is expected to take."""
        return self.endpoints[number].expected_wait(key, self.clock.now)
