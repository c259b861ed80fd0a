"""A data plane over two pools with a server each, and what its answers tell of their route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from config.schema import Condition, Config, Endpoint, Pool, Route, Rule, Split, Sticky, Target, Variant
from tests.support.data_plane import Models, PlaneThread, a_listener, a_state, running
from tests.support.model_server import Model, ModelServer, model_server

READY = {"1": "READY", "2": "READY"}
HAS: Models = {"m": READY, "other": READY, "many": READY}


def a_rule(to: Target | str, name: str = "", **condition: Any) -> Rule:
    target = Target(to) if isinstance(to, str) else to
    return Rule(when=(Condition(**condition),), to=target, name=name)


def a_split(sticky: Sticky | None = None, **shares: Variant) -> Split:
    return Split(variants=shares, sticky=sticky)


def halves(sticky: Sticky | None = None) -> Split:
    """Half of the requests to each of the pools `a` and `b`."""
    return a_split(sticky, left=Variant("a", weight=50), right=Variant("b", weight=50))


@dataclass
class Routed:
    """`plane` has two listeners, of which the second tells nothing; pool `a` has the server `a`, and so on."""

    plane: PlaneThread
    a: ModelServer
    b: ModelServer

    def asked(self, method: str = "ModelInfer") -> tuple[int, int]:
        """How many calls each server got."""
        return len(self.a.called(method)), len(self.b.called(method))


@contextmanager
def routed(*routes: Route, models: Models | None = HAS, labels: Mapping[str, Any] | None = None) -> Iterator[Routed]:
    """Such a plane with these routes. The servers have the models `m`, `other` and, decoupled, `many`."""
    known = {"m": Model(), "other": Model(), "many": Model(decoupled=True)}
    with model_server(models=dict(known)) as a, model_server(models=dict(known)) as b:
        config = Config(
            listen=(a_listener(), a_listener("silent", tell_route=False)),
            pools={name: Pool(endpoints=(Endpoint(each.address),)) for name, each in (("a", a), ("b", b))},
            routes=routes,
            labels=dict(labels or {}),
        )
        states = {name: [a_state(each.address, models)] for name, each in (("a", a), ("b", b))}
        with running(config, states) as plane:
            yield Routed(plane, a, b)


def told(fields: Mapping[str, str] | Sequence[tuple[str, str | bytes]]) -> dict[str, str]:
    """What headers or metadata tell: by the names behind `penstock-`."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    return {name.removeprefix("penstock-"): str(value) for name, value in pairs if name.startswith("penstock-")}
