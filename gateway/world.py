"""What control tells the workers and what they report: plain messages over one Unix socket.

Control to worker: `World` (whole, versioned by `generation`) and `Refreshed`. Worker to control: `Hello`, `Report` once
a second, `Refresh` when a client's load or unload made the inventory stale. On the socket each message is a 4-byte
big-endian length and msgpack, tagged by type.
"""

from __future__ import annotations

import msgspec

from config.schema import Config


class ModelVersion(msgspec.Struct, frozen=True, tag=False, gc=False):
    """One version of a model on one endpoint, as the repository index tells it. `state` is READY, LOADING, UNLOADING,
    UNAVAILABLE or UNKNOWN; `reason` is Triton's own text; `slot` is its row of the load board while it is READY, -1 if
    it has none. It holds no containers, so the collector need not track it."""

    state: str
    reason: str = ""
    slot: int = -1


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


class Refreshed(msgspec.Struct, frozen=True, tag="refreshed"):
    """The `Refresh` with this token is done; the `World` that shows it was sent before."""

    token: int


class Refresh(msgspec.Struct, frozen=True, tag="refresh"):
    """Poll this pool's inventory now and tell all workers before answering."""

    token: int
    pool: str


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


ToWorker = World | Refreshed
ToControl = Hello | Report | Refresh
