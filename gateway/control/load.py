"""From the pages of an endpoint to its load: what waits, what a request costs, and whose work it is. Pure.

What a page says. `pending` counts requests that Triton has and does not execute yet, of all clients (Triton core,
infer_request.cc, `SetState`); those that it executes are in no gauge. The duration counters grow when a request ends.
So, for one model version, with sums and means over recent time, which fade by e every τ seconds: τ = `SERVICE_FADE` for
sums and `LOAD_FADE` for means, or four times t if that is longer, so that the end of one long request is no peak:

    seconds in execution, each   t = Σ compute / Σ executed requests         a request counts its whole batch's time
    requests in a batch          b = Σ executed requests / Σ executions
    service, seconds each        s = t / (b · instances)                     1 / the most that it can do in a second
    executing, on average        x = mean of compute / time                  Little's law: rate × time each
    this node's, on average      o = mean of what is in flight               as often as the page is read

`s` is what each request ahead costs one that waits behind it, so it is what counts. Without traffic both of its sums
fade alike, and it stays. An engine that takes all requests at once (vLLM, TensorRT-LLM) says how many wait and run, and
what it does in a second is what it did while it had any: s = Σ busy time / Σ requests.

Others' requests are those that wait or execute there and are not this node's:

    foreign = max(0, pending + x - max(in flight now, o))

In flight counts also what is on the way there and back, so foreign is rather too small than too large; and a burst of
our own, which pending shows and x does not yet, is no one else's. The maximum with `o` keeps requests of ours that
ended just now, and are still in x, from being taken for others'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from gateway.control.metrics_page import Counts, Key, Page

SERVICE_FADE = 2.0
LOAD_FADE = 1.0
SHORTEST = 0.001
"""Seconds; pages are never read as often."""
UNMEASURED = 0.05
"""Seconds that another's request is taken to cost while nothing is known of its model."""
WARM = 0.01
"""Requests, below which something that fades counts as gone."""


class Load(NamedTuple):
    """The load of a model version: requests `pending`, `service` in seconds each (0: not known yet), requests and
    seconds of others' work, and this node's requests in flight then."""

    pending: float = 0.0
    service: float = 0.0
    executing: float = 0.0
    foreign_requests: float = 0.0
    foreign: float = 0.0
    own: float = 0.0


class Shape(NamedTuple):
    """How a model version executes: how many requests, or batches, at once; and whether it is decoupled. Triton counts
    a request to a decoupled model as done when the model took it, so the page does not tell what it costs."""

    instances: int = 1
    decoupled: bool = False


class ModelLoad:
    """One model version of one endpoint. `shape` is None until it is known."""

    __slots__ = (
        *("_at", "_before", "_busy", "_compute", "_executing", "_executions", "_own", "_requests"),
        *("load", "shape"),
    )

    def __init__(self) -> None:
        self.shape: Shape | None = None
        self.load = Load()
        self._at = -math.inf
        self._before = Counts()
        self._compute = self._requests = self._executions = self._busy = 0.0
        self._executing = self._own = 0.0

    def update(self, counts: Counts, own: float, now: float) -> None:
        """Take in a page of the time `now`, in seconds, when this node had `own` requests in flight here."""
        before, self._before = self._before, counts
        seconds, self._at = now - self._at, now
        if math.isinf(seconds):
            self._begin(counts)
            seconds = 0.0
        else:
            if counts.success < before.success or counts.executions < before.executions:
                before = Counts()  # it was loaded anew and counts from zero, perhaps with another configuration
                self.shape = None
            self._fade(seconds)
            self._count(before, counts, own, seconds)
        self.load = self._weigh(counts, own)

    @property
    def warm(self) -> bool:
        """Something is going on, or was a moment ago."""
        load = self.load
        return load.pending > 0 or load.own > 0 or load.executing > WARM or self._own > WARM

    def _begin(self, counts: Counts) -> None:
        """The mean since the model was loaded is worth one request. Of an engine it is not known."""
        executed = max(counts.success - counts.hits, 0.0)
        if executed > 0 and counts.running < 0:
            self._requests = 1.0
            self._compute = counts.compute / executed
            self._executions = counts.executions / executed

    def _fading(self, shortest: float) -> float:
        each = self._compute / self._requests if self._requests > 0 else 0.0
        return max(shortest, 4 * each)

    def _fade(self, seconds: float) -> None:
        left = math.exp(-seconds / self._fading(SERVICE_FADE))
        self._compute *= left
        self._requests *= left
        self._executions *= left
        self._busy *= left

    def _count(self, before: Counts, counts: Counts, own: float, seconds: float) -> None:
        compute = max(counts.compute - before.compute, 0.0)
        self._compute += compute
        self._executions += max(counts.executions - before.executions, 0.0)
        self._requests += max(counts.success - before.success - (counts.hits - before.hits), 0.0)
        new = 1 - math.exp(-seconds / self._fading(LOAD_FADE))
        self._executing += new * (compute / max(seconds, SHORTEST) - self._executing)
        self._own += new * (own - self._own)
        if counts.running > 0 or counts.waiting > 0 or counts.success > before.success:
            self._busy += seconds

    def _weigh(self, counts: Counts, own: float) -> Load:
        inside = counts.running >= 0
        executing = counts.running if inside else self._executing
        pending = max(counts.pending, 0.0) + max(counts.waiting, 0.0)
        service = self._service(inside)
        others = max(0.0, pending + executing - max(own, self._own))
        return Load(pending, service, executing, others, others * (service or UNMEASURED), own)

    def _service(self, inside: bool) -> float:
        if self._requests <= 0:
            return 0.0
        if inside:
            return self._busy / self._requests
        shape = self.shape or Shape()
        if shape.decoupled:
            return 0.0
        batch = max(1.0, self._requests / self._executions) if self._executions > 0 else 1.0
        return self._compute / self._requests / batch / shape.instances


class EndpointLoad:
    """All models of one endpoint. A model that rests costs nothing."""

    def __init__(self) -> None:
        self.models: dict[Key, ModelLoad] = {}
        self._warm: set[Key] = set()

    def update(self, page: Page, own: Mapping[Key, float], now: float) -> set[Key]:
        """Take in a page of the time `now`, in seconds. `own` is what this node had in flight, without those that had
        nothing. Returns the models whose load is not as it was."""
        touched = self._warm | page.changed | own.keys()
        for key in touched:
            counts = page.models.get(key)
            if counts is None:
                self.models.pop(key, None)
                continue
            model = self.models.get(key)
            if model is None:
                model = self.models[key] = ModelLoad()
            model.update(counts, own.get(key, 0.0), now)
        self._warm = {key for key in touched if key in self.models and self.models[key].warm}
        return touched

    @property
    def warm(self) -> bool:
        """Something is going on here, or was a moment ago."""
        return bool(self._warm)

    def total(self) -> Load:
        """The whole endpoint: sums over its models; it has no service time of its own."""
        loads = [self.models[key].load for key in self._warm]
        return Load(
            pending=sum(load.pending for load in loads),
            executing=sum(load.executing for load in loads),
            foreign_requests=sum(load.foreign_requests for load in loads),
            foreign=sum(load.foreign for load in loads),
            own=sum(load.own for load in loads),
        )

    def shapeless(self) -> list[Key]:
        """Models with traffic whose shape is not known."""
        return [key for key in self._warm if self.models[key].shape is None]
