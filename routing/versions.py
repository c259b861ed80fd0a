"""Which version of a model a target means: a number, a label of the configuration, or the latest.

`latest` is the highest version that is READY on every live endpoint of the pool that has the model. It moves up when a
higher one is READY on all of them, so nobody meets a version that half of the pool has; it never goes back while any
endpoint still serves it, whatever joins or starts again with less. When the versions of the endpoints have none in
common, which is a roll-out under way, it stays where it was, and at a gateway's start it is the lowest of the
endpoints' highest: the version that is on its way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from routing.endpoint import READY, Endpoint
from routing.pool import Pool, unknown_model
from transcoding.status import GatewayError

LATEST = "latest"
MOST_FRESH = 4096


class VersionSource(Protocol):
    """Says which version of a model is meant now."""

    def of(self, model: str) -> str:
        """The version, "" to leave it to the endpoint. Raises `GatewayError`."""
        ...


class Labelled:
    """A label: each model has its own version for it."""

    __slots__ = ("_label", "_versions")

    def __init__(self, label: str, labels: Mapping[str, Mapping[str, str]]) -> None:
        self._label = label
        self._versions = {model: versions[label] for model, versions in labels.items() if label in versions}

    def of(self, model: str) -> str:
        """The model's version of this label. Raises `GatewayError` NOT_FOUND for a model that has none."""
        version = self._versions.get(model)
        if version is None:
            raise no_label(model, self._label)
        return version


class Latest:
    """The latest versions of the models of one pool. It outlives snapshots, since it remembers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._remembered: dict[str, str] = {}
        self._fresh: dict[str, str] = {}
        self._generation = -1

    def follow(self, pool: Pool) -> None:
        """The same pool, built anew."""
        if pool is not self._pool:
            self._pool = pool
            self._generation = -1

    def of(self, model: str) -> str:
        """The version, "" while no endpoint is known to have the model."""
        if self._generation != self._pool.generation:
            self._fresh.clear()
            self._generation = self._pool.generation
        version = self._fresh.get(model)
        return version if version is not None else self._find(model)

    def _find(self, model: str) -> str:
        serving = [ready for endpoint in self._pool.endpoints if (ready := ready_versions(endpoint, model))]
        version = self._remembered.get(model, "")
        if serving:  # else all of them are away, and whoever comes back has what it had
            version = self._remembered[model] = latest_of(serving, version)
        if len(self._fresh) >= MOST_FRESH:
            self._fresh.clear()
        self._fresh[model] = version
        return version


def ready_versions(endpoint: Endpoint, model: str) -> frozenset[str]:
    """The versions of the model that are READY on this endpoint; none if it is not live."""
    if not (endpoint.live and endpoint.known):
        return frozenset()
    versions = endpoint.inventory.get(model, {})
    return frozenset(version for version, state in versions.items() if state.state == READY)


def latest_of(serving: list[frozenset[str]], before: str) -> str:
    """The version for endpoints that serve these, where it was `before`, "" for nothing."""
    common = frozenset.intersection(*serving)
    highest = max(common, key=number, default="")
    kept = any(before in ready for ready in serving)
    if kept and (not highest or number(highest) < number(before)):
        return before
    return highest or min((max(ready, key=number) for ready in serving), key=number)


def number(version: str) -> int:
    """A version by its number; what is none comes first."""
    return int(version) if version.isdecimal() and len(version) < 20 else -1


def no_label(model: str, label: str) -> GatewayError:
    """The answer for a model of which the configuration labels no version so."""
    error = unknown_model(model)
    return GatewayError(error.code, f"Request for unknown model: '{model}' has no version with the label '{label}'")
