"""Each endpoint in turn, whatever its load."""

from __future__ import annotations

from collections.abc import Sequence

from routing.call import Call
from routing.endpoint import Endpoint


class Picker:
    """Round robin over the candidates as they are at each pick."""

    def __init__(self) -> None:
        self._turn = -1

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        self._turn = turn = self._turn + 1
        return candidates[turn % len(candidates)]
