"""Which version of a model a pool serves now, and of which loads: what an answer that is kept was computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from routing.endpoint import READY, newest
from routing.pool import Pool


class Served(NamedTuple):
    """A version, and by address the token of its load on each live endpoint where it is READY."""

    version: str
    loads: Mapping[str, int]


def served(pool: Pool, model: str, version: str) -> Served | None:
    """What a request for this model and version, "" for the one that Triton takes then, is answered by. None when that
    is not known: an endpoint's models are not, or the endpoints would take different versions."""
    live = [endpoint for endpoint in pool.endpoints if endpoint.live]
    if not all(endpoint.known for endpoint in live):
        return None
    having = {each.address: versions for each in live if (versions := each.inventory.get(model))}
    if not version:
        found = {newest(versions) for versions in having.values()} - {""}
        if len(found) != 1:
            return None
        version = found.pop()
    ready = {
        address: state.load
        for address, versions in having.items()
        if (state := versions.get(version)) is not None and state.state == READY
    }
    return Served(version, ready) if ready else None
