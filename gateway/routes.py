"""Routes of the configuration to tables: each target with its pool, its chain of policies and its version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from config.routes import Route, Target
from config.routes import Variant as Share
from routing.call import Call, Handler, Policy, Reply, link
from routing.match import compile_conditions
from routing.pool import Pool
from routing.split import Share as Weight
from routing.split import Split
from routing.table import Rule, Shares, Table, Variant
from routing.versions import LATEST, Labelled, Latest, VersionSource

Labels = Mapping[str, Mapping[str, str]]


class RouteLinker:
    """Links routes to what all of them share. `latest` knows the latest versions of a pool; `random` gives floats in
    [0, 1)."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        latest: Callable[[Pool], Latest],
        labels: Labels,
        random: Callable[[], float],
    ) -> None:
        self._pools = pools
        self._latest = latest
        self._labels = labels
        self._random = random

    def table(self, route: Route, policies: Sequence[Policy] = ()) -> Table:
        """Where the requests of a route go, and through which policies once that is known. Raises ValueError for what
        no checked configuration has: neither `to` nor a share above 0."""
        names = [rule.name or f"rules[{position}]" for position, rule in enumerate(route.rules)]
        rules = [
            Rule(compile_conditions(rule.when), self._variant(route, name, rule.to, policies))
            for name, rule in zip(names, route.rules, strict=True)
        ]
        if route.split is not None:
            return Table(rules, self._shares(route, policies))
        if route.to is None:
            raise ValueError(f"route {route.name}: expected to or split")
        return Table(rules, self._variant(route, "", route.to, policies))

    def _shares(self, route: Route, policies: Sequence[Policy]) -> Shares:
        assert route.split is not None
        named = route.split.variants
        weights = [Weight(name, share.weight) for name, share in named.items()]
        split = Split(route.split.salt or route.name, weights, route.split.sticky, self._random)
        variants = tuple(self._variant(route, name, share, policies) for name, share in named.items())
        return Shares(split, variants, tuple(weight for _, weight in weights))

    def _variant(self, route: Route, name: str, target: Target | Share, policies: Sequence[Policy]) -> Variant:
        pool = self._pools[target.pool]
        version = target.version or ""
        versions = self._versions(pool, version)
        fixed = "" if versions is not None else version
        model = target.model or ""
        chain = link([placed(policy, pool) for policy in policies], pool.forward)
        if any(getattr(each, "needs_pool", False) for each in policies):
            chain = bound_for(pool.name, chain)
        return Variant(route.name, name, pool, chain, model=model, version=fixed, versions=versions)

    def _versions(self, pool: Pool, version: str) -> VersionSource | None:
        if version == LATEST:
            return self._latest(pool)
        return Labelled(version, self._labels) if version and not version.isdecimal() else None


def placed(policy: Policy, pool: Pool) -> Policy:
    """A policy in front of this pool: another object where that makes a difference to it (it has `at`)."""
    at: Callable[[Pool], Policy] | None = getattr(policy, "at", None)
    return policy if at is None else at(pool)


def bound_for(pool: str, handler: Handler) -> Handler:
    """The handler, for calls that are to know for which pool they were meant."""

    async def tell(call: Call) -> Reply:
        call.pool = pool
        return await handler(call)

    return tell
