"""The policies of the current configuration, by what was written: what stays as it is keeps its object, and with it the
budgets and latencies that it remembers, across every other change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from config.routes import PolicySpec, Route, Target
from config.schema import Config, Listener
from policies import Counters, Services, Siblings, Signature, make, no_signature, unread
from routing.call import Policy
from routing.pool import Pool
from routing.versions import LATEST, Labelled, Latest
from state import State
from state.keys import KeyRing, Keys

Labels = Mapping[str, Mapping[str, str]]
Key = tuple[str, str, int]
"""What has it ("policies", "routes" or "listen"), the name of that, and its place there."""

NO_LABELS: Labels = MappingProxyType({})


class Shared(NamedTuple):
    """What a process has once, for all its policies: the state store and the API keys, where there are any, the other
    workers of its node, and what is known of models."""

    state: State | None = None
    keys: KeyRing | None = None
    siblings: Siblings | None = None
    signature: Signature = no_signature


class Shelf:
    """One policy for each shared name, and for each place of a route or listener that has one of its own.

    `pools` follow the current configuration, `latest` knows the latest versions of a pool, `shared` is what they all
    have, `gauges` are where they say what may fall, and `labels` are to be set with each configuration.
    """

    def __init__(
        self,
        counters: Counters,
        pools: Mapping[str, Pool],
        latest: Callable[[Pool], Latest],
        shared: Shared = Shared(),  # noqa: B008 - immutable
        gauges: Counters = unread,
    ) -> None:
        self.labels = NO_LABELS
        self._pools = pools
        self._latest = latest
        self._services = Services(
            counters,
            pools,
            self.version_of,
            gauges=gauges,
            signature=shared.signature,
            state=shared.state,
            keys=shared.keys or Keys(),
            siblings=shared.siblings or Siblings(),
        )
        self._made: dict[Key, tuple[PolicySpec, Policy]] = {}

    def policies_of(self, route: Route) -> tuple[Policy, ...]:
        """The policies of a route, from the outside in."""
        return tuple(self._get(key, spec) for key, spec in _keyed("routes", route))

    def policies_at(self, listener: Listener) -> tuple[Policy, ...]:
        """Those of a listener, which come before any route's."""
        return tuple(self._get(key, spec) for key, spec in _keyed("listen", listener))

    def keep(self, config: Config) -> None:
        """Forget what nothing in this configuration has."""
        kept = {key for route in config.routes for key, _ in _keyed("routes", route)}
        kept |= {key for listener in config.listen for key, _ in _keyed("listen", listener)}
        for key in self._made.keys() - kept:
            del self._made[key]

    def version_of(self, target: Target, model: str) -> str:
        """The version that a target means for a model now, "" for none. Raises `GatewayError` for a label that the
        model has not."""
        version = target.version or ""
        if version == LATEST:
            return self._latest(self._pools[target.pool]).of(model)
        return Labelled(version, self.labels).of(model) if version and not version.isdecimal() else version

    def _get(self, key: Key, spec: PolicySpec) -> Policy:
        known, policy = self._made.get(key, (None, None))
        if policy is None or known != spec:
            policy = make(spec, replace(self._services, name=spec.name or f"{key[0]}.{key[1]}[{key[2]}]"))
            self._made[key] = (spec, policy)
        return policy


def _keyed(section: str, owner: Route | Listener) -> Iterable[tuple[Key, PolicySpec]]:
    for place, spec in enumerate(owner.policies):
        yield (("policies", spec.name, -1) if spec.name else (section, owner.name, place)), spec
