"""Ensembles of one endpoint: their work is done by the models that they are made of, and counted there, too.

What the page of Triton 2.51 says of an ensemble: `pending` is always 0, its requests wait at its steps; its compute
durations are the sums of its steps', and each request is one execution (Triton core, ensemble_scheduler.cc). So its
service time comes from its own counters, its queue is that of its steps, and

- this node's requests to it are this node's at each of its steps, where they would else be taken for others';
- what it executes is already in what its steps execute, and does not count for the endpoint a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from gateway.control.load import EndpointLoad, Load, ModelLoad, Shape
from gateway.control.metrics_page import Key

LATEST = -1
"""As `model_version` of a step; it may be any version then."""

Models = Mapping[Key, ModelLoad]


class Step(NamedTuple):
    """A model of an ensemble; `version` is "" for the latest."""

    model: str
    version: str = ""


class EnsembleShape(Shape):
    """The shape of an ensemble: as many requests at once as come, each by way of its steps."""

    steps: tuple[Step, ...] = ()


def read_ensemble(config: Any) -> EnsembleShape:
    """Of a `ModelConfig` with `ensemble_scheduling`."""
    shape = EnsembleShape(1, bool(config.model_transaction_policy.decoupled))
    shape.steps = tuple(
        Step(step.model_name, "" if step.model_version == LATEST else str(step.model_version))
        for step in config.ensemble_scheduling.step
    )
    return shape


class Ensembles:
    """x"""

    def __init__(self, versions: Callable[[str], Collection[str]]) -> None:
        self._versions = versions
        self.known: set[Key] = set()

    def learn(self, key: Key, shape: Shape) -> None:
        """How this model version executes."""
        if isinstance(shape, EnsembleShape):
            self.known.add(key)
        else:
            self.known.discard(key)

    def spread(self, own: Mapping[Key, float], models: Models) -> Mapping[Key, float]:
        """What this node has in flight, where what is at an ensemble is at each of its steps as well."""
        here = [key for key in own if key in self.known]
        if not here:
            return own
        spread = dict(own)
        for key in here:
            for step in self._steps(key, models):
                spread[step] = spread.get(step, 0.0) + own[key]
        return spread

    def load(self, key: Key, models: Models) -> Load:
        """That of a model version, with the queue of an ensemble's steps."""
        model = models.get(key)
        if model is None:
            return Load()
        if key not in self.known:
            return model.load
        waiting = sum(models[step].load.pending for step in self._steps(key, models) if step in models)
        return model.load._replace(pending=model.load.pending + waiting)

    def total(self, load: EndpointLoad, own: float) -> Load:
        """The whole endpoint's, where this node has `own` requests in flight."""
        total = load.total()._replace(own=own)
        for key in self.known:
            model = load.models.get(key)
            if model is not None and model.warm and isinstance(model.shape, EnsembleShape):
                total = _without(total, model.load)
        return total

    def _steps(self, key: Key, models: Models) -> Iterator[Key]:
        """The model versions that work for an ensemble, those of ensembles within it too; Triton allows no circles."""
        shape = models[key].shape if key in models else None
        for name, version in shape.steps if isinstance(shape, EnsembleShape) else ():
            for each in (version,) if version else self._versions(name):
                yield (name, each)
                if (name, each) in self.known:
                    yield from self._steps((name, each), models)


def _without(total: Load, load: Load) -> Load:
    return total._replace(
        executing=max(0.0, total.executing - load.executing),
        foreign_requests=max(0.0, total.foreign_requests - load.foreign_requests),
        foreign=max(0.0, total.foreign - load.foreign),
    )
