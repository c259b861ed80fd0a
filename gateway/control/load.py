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
fade alike, and it stays while nobody else has traffic either. Where others serve the model and nobody sends here, it
fades to what they take (`routing.fleet.faded`), so that somebody tries: a first inference may be slow, a second need
not be. The sums are small by then, so the first try tells. An engine that takes all requests at once (vLLM,
TensorRT-LLM) says how many wait and run, and what it does in a second is what it did while it had any:
s = Σ busy time / Σ requests.

Others' requests are those that wait or execute there and are not this node's:

    foreign = max(0, pending + x - max(in flight now, o))

In flight counts also what is on the way there and back, so foreign is rather too small than too large; and a burst of
our own, which pending shows and x does not yet, is no one else's. The maximum with `o` keeps requests of ours that
ended just now, and are still in x, from being taken for others'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from gateway.control.metrics_page import Counts, Key, Page
from gateway.control.typical import Typical, Typicals
from routing.fleet import OPTIMISM, REST_SECONDS, faded, fading

SERVICE_FADE = 2.0
LOAD_FADE = 1.0
SHORTEST = 0.001
"""Seconds; pages are never read as often."""
UNMEASURED = 0.05
"""Seconds that another's request is taken to cost while nothing is known of its model."""
WARM = 0.01
"""Requests, below which something that fades counts as gone."""
LEAST = 1e-9
"""Requests, below which a sum does not fade, so that a figure is still known after a day."""
SETTLED = 1.003
"""Times what a figure fades to, where it has arrived."""
RESTING = 16
"""Of the models of an endpoint that rest, how many are looked at with each page."""


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
    """One model version of one endpoint. `shape` is None until it is known. `typical` is what it takes anywhere."""

    __slots__ = (
        *(
            "_at",
            "_before",
            "_busy",
            "_compute",
            "_elsewhere",
            "_executing",
            "_executions",
            "_own",
            "_requests",
            "_used",
        ),
        *("load", "shape", "typical"),
    )

    def __init__(self, typical: Typical | None = None) -> None:
        self.shape: Shape | None = None
        self.load = Load()
        self.typical = Typical() if typical is None else typical
        self._elsewhere = self.typical.requests
        self._at = self._used = -math.inf
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
            requests = self._count(before, counts, own, seconds)
            if requests > 0:
                self.typical.learn(self._service(counts.running >= 0), requests, now)
            if requests > 0 or max(own, counts.pending, counts.waiting, counts.running) > 0:
                self._used = now
            elif now - self._used > REST_SECONDS:
                self._forget(seconds)
        self._elsewhere = self.typical.requests
        self.load = self._weigh(counts, own)

    @property
    def warm(self) -> bool:
        """Something is going on, or was a moment ago."""
        load = self.load
        return load.pending > 0 or load.own > 0 or load.executing > WARM or self._own > WARM

    @property
    def fading(self) -> bool:
        """It is taken to be slower than elsewhere, and others have had requests meanwhile."""
        typical = self.typical
        return typical.requests > self._elsewhere and self.load.service > SETTLED * OPTIMISM * typical.seconds > 0

    def _forget(self, seconds: float) -> None:
        """Nobody was here for so many seconds more."""
        typical, service = self.typical, self.load.service
        steps = fading(seconds, typical.requests - self._elsewhere, typical.places)
        if steps > 0 and typical.seconds > 0 and service > 0:
            left = faded(service, typical.seconds, steps) / service
            self._compute *= left
            self._busy *= left

    def _begin(self, counts: Counts) -> None:
        """The mean since the model was loaded is worth one request. Of an engine it is not known."""
        executed = max(counts.success - counts.hits, 0.0)
        if executed > 0 and counts.running < 0:
            self._requests = 1.0
            self._compute = max(counts.compute, 0.0) / executed
            self._executions = max(counts.executions, 0.0) / executed

    def _fading(self, shortest: float) -> float:
        each = self._compute / self._requests if self._requests > 0 else 0.0
        return max(shortest, 4 * each)

    def _fade(self, seconds: float) -> None:
        left = math.exp(-seconds / self._fading(SERVICE_FADE))
        if self._requests > 0:
            left = max(left, min(1.0, LEAST / self._requests))
        self._compute *= left
        self._requests *= left
        self._executions *= left
        self._busy *= left

    def _count(self, before: Counts, counts: Counts, own: float, seconds: float) -> float:
        """Add what is new; how many requests that is."""
        compute = max(counts.compute - before.compute, 0.0)
        self._compute += compute
        self._executions += max(counts.executions - before.executions, 0.0)
        requests = max(counts.success - before.success - (counts.hits - before.hits), 0.0)
        self._requests += requests
        new = 1 - math.exp(-seconds / self._fading(LOAD_FADE))
        self._executing += new * (compute / max(seconds, SHORTEST) - self._executing)
        self._own += new * (own - self._own)
        if counts.running > 0 or counts.waiting > 0 or counts.success > before.success:
            self._busy += seconds
        return requests

    def _weigh(self, counts: Counts, own: float) -> Load:
        inside = counts.running >= 0
        executing = counts.running if inside else self._executing
        pending = max(counts.pending, 0.0) + max(counts.waiting, 0.0)
        service = self._service(inside)
        others = max(0.0, pending + executing - max(own, self._own))
        return Load(pending, service, executing, others, others * (service or UNMEASURED), own)

    def _service(self, inside: bool) -> float:
        if self._requests < LEAST / 2:
            return 0.0
        if inside:
            return self._busy / self._requests
        shape = self.shape or Shape()
        if shape.decoupled:
            return 0.0
        batch = max(1.0, self._requests / self._executions) if self._executions > 0 else 1.0
        return self._compute / self._requests / batch / shape.instances


class EndpointLoad:
    """All models of one endpoint, of a fleet where they take what `typicals` say. A model that rests costs nothing, but
    that a few are looked at in turn: whether others are faster by now."""

    def __init__(self, typicals: Typicals | None = None) -> None:
        self.models: dict[Key, ModelLoad] = {}
        self._typicals = Typicals() if typicals is None else typicals
        self._warm: set[Key] = set()
        self._turn: Iterator[Key] = iter(())

    def update(self, page: Page, own: Mapping[Key, float], now: float) -> set[Key]:
        """Take in a page of the time `now`, in seconds. `own` is what this node had in flight, without those that had
        nothing. Returns the models whose load is not as it was."""
        touched = self._warm | page.changed | own.keys() | self._fading()
        for key in touched:
            counts = page.models.get(key)
            if counts is None:
                self._drop(key)
                continue
            model = self.models.get(key)
            if model is None:
                model = self._add(key)
            model.update(counts, own.get(key, 0.0), now)
        self._warm = {key for key in touched if key in self.models and self.models[key].warm}
        return touched

    def clear(self) -> None:
        """Nothing is known any more: no page comes from there."""
        for key in list(self.models):
            self._drop(key)
        self._warm.clear()

    def _add(self, key: Key) -> ModelLoad:
        typical = self._typicals.of(key)
        typical.places += 1
        model = self.models[key] = ModelLoad(typical)
        return model

    def _drop(self, key: Key) -> None:
        model = self.models.pop(key, None)
        if model is not None:
            model.typical.places -= 1

    def _fading(self) -> set[Key]:
        """Of the next few models, those that fade."""
        keys = list(islice(self._turn, RESTING))
        if len(keys) < RESTING:
            self._turn = iter(tuple(self.models))
        models = self.models
        return {key for key in keys if key in models and models[key].fading}

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
