"""What a model version takes anywhere in the fleet, from all metrics pages: what one endpoint's old figure fades to."""

from __future__ import annotations

import math
from weakref import WeakValueDictionary

from gateway.control.metrics_page import Key

RECENT = 5.0
"""Seconds after which e⁻¹ of the weight of a request is left."""


class Typical:
    """The mean of `seconds` over recent requests, 0 while there was none; how many there were in all, and at how many
    places the model is."""

    __slots__ = ("__weakref__", "_at", "_weight", "places", "requests", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.requests = 0.0
        self.places = 0
        self._weight = 0.0
        self._at = 0.0

    def learn(self, seconds: float, requests: float, now: float) -> None:
        """So many more requests took so many seconds each."""
        self._weight = self._weight * math.exp(-max(0.0, now - self._at) / RECENT) + requests
        self._at = now
        self.requests += requests
        self.seconds += requests / self._weight * (seconds - self.seconds)


class Typicals:
    """Those of all model versions that some page has."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Key, Typical] = WeakValueDictionary()

    def of(self, key: Key) -> Typical:
        """The one of a model version, for as long as somebody keeps it."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Typical()
        return found

    def __len__(self) -> int:
        return len(self._known)
