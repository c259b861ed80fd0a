"""What must hold within and between pools."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from config.addresses import normal
from config.findings import Finding, repeated
from config.hole import HOLE
from config.problems import Path, did_you_mean, listed, quote
from config.schema import Config, Discover, Managed, Models, Outliers, Pick, Pool
from config.units import format_duration

_ANY_CONTROL = ("load", "load_timeout", "failure_backoff")
_ON_DEMAND = ("max_loaded", "memory", "idle_unload", "waiting_requests", "waiting_bytes", "spread_wait")


def check_pools(config: Config, pickers: Collection[str], written: Collection[Path]) -> Iterator[Finding]:
    """Every mistake in a pool; `written` has the paths of values that do not come from a default."""
    for name, pool in config.pools.items():
        if pool is HOLE:
            continue
        path = ("pools", name)
        yield from _endpoints(pool, path)
        yield from _pick(pool.pick, (*path, "pick"), pickers, written)
        yield from _models(pool.models, (*path, "models"), written)
        yield from _outliers(pool.outliers, (*path, "outliers"))
        if pool.managed:
            yield from _managed(pool.managed, (*path, "managed"))
        if pool.discover:
            yield from _discover(pool.discover, (*path, "discover"))


def _endpoints(pool: Pool, path: Path) -> Iterator[Finding]:
    places = [((*path, "endpoints", i), endpoint.address) for i, endpoint in enumerate(pool.endpoints)]
    for place, first, address in repeated((place, text, normal(text)) for place, text in places if text is not HOLE):
        yield place, f"expected each endpoint once, got {quote(address)} again, as in {first}"


def _pick(pick: Pick, path: Path, pickers: Collection[str], written: Collection[Path]) -> Iterator[Finding]:
    if pick.kind is HOLE:
        return
    if pick.kind not in pickers:
        hint = did_you_mean(pick.kind, pickers)
        yield (*path, "kind"), f"expected one of: {listed(pickers)}; got {quote(pick.kind)}{hint}"
    elif pick.kind != "hash_ring":
        yield from _idle(("by", "bound"), path, written, f"which is for hash_ring, not for {pick.kind}")


def _models(models: Models, path: Path, written: Collection[Path]) -> Iterator[Finding]:
    if models.mode is HOLE:
        return
    if models.mode == "repository":
        yield from _idle(_ANY_CONTROL, path, written, "which is for the modes explicit and on_demand")
    if models.mode != "on_demand":
        yield from _idle(_ON_DEMAND, path, written, "which is for the mode on_demand")
    elif len(tuple(models.load)) > models.max_loaded:
        least = f"as many as `load` names, {len(models.load)}"
        yield (*path, "max_loaded"), f"expected max_loaded to be at least {least}, got {models.max_loaded}"
    names = (((*path, "load", i), model.name, model.name) for i, model in enumerate(models.load))
    for place, first, name in repeated(each for each in names if each[1] is not HOLE):
        yield place, f"expected each model once, got {quote(name)} again, as in {first}"


def _managed(managed: Managed, path: Path) -> Iterator[Finding]:
    if len(tuple(managed.gpus)) > managed.replicas:
        most = f"expected at most one item for each of {managed.replicas} replicas, got {len(managed.gpus)}"
        yield (*path, "gpus", managed.replicas), most
    yield from _ordered(managed, "backoff", "max_backoff", path)
    places = (((*path, "repository", i), text, text) for i, text in enumerate(managed.repository) if text is not HOLE)
    for place, first, text in repeated(places):
        yield place, f"expected each folder once, got {quote(text)} again, as in {first}"


def _discover(discover: Discover, path: Path) -> Iterator[Finding]:
    yield from _ordered(discover, "min_interval", "max_interval", path)


def _outliers(outliers: Outliers, path: Path) -> Iterator[Finding]:
    yield from _ordered(outliers, "base", "max", path)


def _ordered(part: Discover | Managed | Outliers, less: str, more: str, path: Path) -> Iterator[Finding]:
    """Two durations of which one may not be above the other."""
    low, high = getattr(part, less), getattr(part, more)
    if low > high:
        limit = f"`{more}`, which is {format_duration(high)}"
        yield (*path, less), f"expected `{less}` to be at most {limit}, got {format_duration(low)}"


def _idle(fields: Iterable[str], path: Path, written: Collection[Path], why: str) -> Iterator[Finding]:
    """Fields that were written but change nothing."""
    for field in fields:
        if (*path, field) in written:
            yield (*path, field), f"expected no `{field}`, {why}"
