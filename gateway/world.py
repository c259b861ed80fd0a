"""What control tells the workers and what they report: plain messages over one Unix socket.

Control to worker: `World` (whole, versioned by `generation`), `KeySet`, `Places`, `Refreshed`, `Loading` and `Loaded`.
Worker to control: `Hello`, `Report` once a second, `Refresh` when a client's load or unload made the inventory stale or
an answer showed it to be, `Load` when a request needs a model that is loaded on demand. On the socket each message is a
4-byte big-endian length and msgpack, tagged by type.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from config.schema import Config
from state.keys import KeyRecord


class ModelVersion(msgspec.Struct, frozen=True, tag=False, gc=False):
    """One version of a model on one endpoint, as the repository index tells it. `state` is READY, LOADING, UNLOADING,
    UNAVAILABLE or UNKNOWN; `reason` is Triton's own text; `slot` is its row of the load board while it is READY, -1 if
    it has none; `load` is another number for each time that it was loaded. It holds no containers, so the collector
    need not track it."""

    state: str
    reason: str = ""
    slot: int = -1
    load: int = 0


class EndpointState(msgspec.Struct, frozen=True):
    """What the last polls of one endpoint said. `models` maps name to version to state; a model of the repository that
    was never loaded has no versions. `known` is False until an index was read once. `weight` is its share of the load
    beside others; `slot` is its row of the load board, -1 if it has none."""

    address: str
    live: bool
    known: bool = False
    models: dict[str, dict[str, ModelVersion]] = {}
    reason: str = ""
    slot: int = -1
    weight: float = 1.0


class World(msgspec.Struct, frozen=True, tag="world"):
    """Everything that a worker needs: the configuration and each pool's endpoints, in the order of the file.

    `draining` is True from SIGTERM on: readiness is to fail while requests are still taken.
    """

    generation: int
    config: Config
    pools: dict[str, tuple[EndpointState, ...]]
    draining: bool = False


class KeySet(msgspec.Struct, frozen=True, tag="keys"):
    """The API keys, beside the World, as they change at another time and are many: all of them if `whole`, else those
    that changed and the ids of those that are `gone`. `complete` is False as long as the store that has most of them
    was never read."""

    whole: bool
    complete: bool
    records: tuple[KeyRecord, ...] = ()
    gone: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True):
    """Which of the gateways that share a pool this one is, from 0, and the loads of all, in seconds of work in a
    second; both are the order of the arcs of `routing.aperture`."""

    node: int = 0
    loads: tuple[float, ...] = (1.0,)


class Places(msgspec.Struct, frozen=True, tag="places"):
    """This gateway's place in each pool that others share; in the others it is alone. Beside the World, as they change
    more often and are small."""

    pools: dict[str, Place]


class Refreshed(msgspec.Struct, frozen=True, tag="refreshed"):
    """The `Refresh` with this token is done; the `World` that shows it was sent before."""

    token: int


class Outcome(msgspec.Struct, frozen=True):
    """How a wish for a model ended: it is `ready`; its load `failed`; there was no room in time, `busy`; no endpoint
    has it, `unknown`; control is `away`. `retry_after` is in seconds."""

    state: Literal["ready", "failed", "busy", "unknown", "away"]
    reason: str = ""
    retry_after: float = 0.0


class Loading(msgspec.Struct, frozen=True, tag="loading"):
    """What the `Load` with this token waits for now, in words."""

    token: int
    progress: str


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The `Load` with this token is done. If the model is ready, the `World` that shows it was sent before."""

    token: int
    outcome: Outcome


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Have this model loaded somewhere in this pool, and tell all workers before answering."""

    token: int
    pool: str
    model: str


class Refresh(msgspec.Struct, frozen=True, tag="refresh"):
    """Poll this pool's inventory now, or that of one of its endpoints, and tell all workers before answering. `loaded`
    names a model that was loaded there."""

    token: int
    pool: str
    address: str = ""
    loaded: str = ""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """A worker's first message."""

    worker: int
    pid: int


class Report(msgspec.Struct, frozen=True, tag="report"):
    """A worker's metrics since it started (absolute, not deltas): family to label values to value, and histograms as
    (bucket counts not cumulated, sum)."""

    worker: int
    generation: int
    ready: bool
    counters: dict[str, dict[tuple[str, ...], float]]
    gauges: dict[str, dict[tuple[str, ...], float]]
    histograms: dict[str, dict[tuple[str, ...], tuple[list[int], float]]]


ToWorker = World | KeySet | Places | Refreshed | Loading | Loaded
ToControl = Hello | Report | Refresh | Load
