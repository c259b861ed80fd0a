"""One module per picker; the file name is its name in a pool's `pick`.

A picker is built once per pool and asked with the endpoints that may take a call right now.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from routing.call import Call
from routing.endpoint import Endpoint


class Picker(Protocol):
    """Chooses one endpoint for a call."""

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        ...


def make(kind: str) -> Picker:
    """The picker of `routing/pickers/<kind>.py`. `kind` was checked when the configuration was loaded."""
    return cast(Picker, import_module(f"routing.pickers.{kind}").Picker())
