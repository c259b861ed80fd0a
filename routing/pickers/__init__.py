"""One module per picker; the file name is its name in a pool's `pick`.

A picker is built once per pool and asked with the endpoints that may take a call right now. The same set of candidates
comes as the same tuple, so a picker may remember what it derived from one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, cast

from config.pools import Pick
from routing.aperture import Aperture
from routing.call import Call
from routing.endpoint import Endpoint
from routing.fleet import Fleet


@dataclass(frozen=True)
class Tools:
    """What a picker works with; chance is injected so that tests and simulations repeat."""

    fleet: Fleet = field(default_factory=Fleet)
    aperture: Aperture = field(default_factory=Aperture)
    rng: random.Random = field(default_factory=random.Random)


class Picker(Protocol):
    """Chooses one endpoint for a call.

    `wants` is what it hashes: "header:NAME", "principal", "sequence" or "body", "" for nothing. A header and a body are
    found by `routing.hash_key` before the call and come as `Call.hash_key`.
    """

    wants: str

    def pick(self, candidates: Sequence[Endpoint], call: Call) -> Endpoint:
        """One of `candidates`, which is not empty."""
        ...


def make(pick: Pick, tools: Tools | None = None) -> Picker:
    """The picker of `routing/pickers/<kind>.py`. `pick` was checked when the configuration was loaded."""
    module = import_module(f"routing.pickers.{pick.kind}")
    return cast(Picker, module.Picker(pick, tools or Tools()))
