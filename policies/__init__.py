"""What happens around a call: one file per policy, none knows another; the file name is its `kind` in a configuration.

A policy's file has a docstring for the operator, `Spec` (its options, each described) and `Policy`, built from both the
options and `Services`. It is awaited as `policy(call, next)`: it answers by awaiting `next`, once, often or never, and
lets errors and cancellation through unless they are its business. One object may serve many routes at once, so what it
remembers is either of all calls or keyed by the call.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Protocol, cast

import msgspec

from config.node import Node
from config.routes import PolicySpec, Target
from routing.bell import Bell
from routing.call import Policy
from routing.permits import PermitTable
from routing.pool import Pool, unknown_model
from routing.tasks import spawn
from state import State
from state.keys import KeyRing, Keys
from state.limit_table import LimitTable
from transcoding.message import ModelSignature


class Count(Protocol):
    """One counter or gauge of the metrics; `gateway.telemetry.metrics` has the real ones."""

    value: float


class Counters(Protocol):
    """The counters, or gauges, of a process, by family and label values. The same ones give the same counter."""

    def __call__(self, family: str, labels: tuple[str, ...] = (), /) -> Count:
        """Raises `ValueError` if the family is not documented, or has other labels."""
        ...


@dataclass
class Unread:
    """A count that nobody reads."""

    value: float = 0


def unread(family: str, labels: tuple[str, ...] = (), /) -> Count:
    """Gauges where there are no metrics."""
    return Unread()


def as_written(target: Target, model: str) -> str:
    """The version of a target that is a number, or none."""
    return target.version or ""


class Siblings:
    """The workers of this node: which of `count` this one is, and the directory in which they share memory, None for
    one that is alone."""

    def __init__(
        self, directory: str | None = None, index: int = 0, count: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.directory = directory
        self.index = index
        self.count = count
        self._clock = clock

    @cached_property
    def limits(self) -> LimitTable:
        """What callers used of their limits. Raises `OSError`, and `ValueError` for a file that is no such table."""
        return LimitTable.open(self.path("limits"), clock=self._clock)

    @cached_property
    def permits(self) -> PermitTable:
        """How many calls are in flight. Raises as `limits` does."""
        return PermitTable.open(self.path("permits"), self.index, self.count)

    @cached_property
    def bell(self) -> Bell:
        """How to wake them, and to be woken."""
        return Bell(self.directory, self.index)

    def path(self, name: str) -> str | None:
        """A file that the workers share, None without a directory."""
        return None if self.directory is None else os.path.join(self.directory, name)


Signature = Callable[[Pool, str, str, float | None], Awaitable[ModelSignature]]
"""What a model takes and gives, by its pool, name and version, asked for by a deadline in the loop's time. Raises
`GatewayError` where nothing is known."""


async def no_signature(pool: Pool, model: str, version: str, deadline: float | None = None) -> ModelSignature:
    """Nothing is known of any model."""
    raise unknown_model(model)


@dataclass(frozen=True)
class Services:
    """What policies are given. `clock` tells seconds on the scale of `Call.deadline`, the event loop's time, which is
    CLOCK_MONOTONIC with asyncio and uvloop alike. `pools` and `version_of` follow the current configuration; the latter
    says which version of a model a target means now, and raises `GatewayError` for a label that the model has not.
    `wall` tells the time of day, in seconds since 1970, for what expires or is told to others; `gauges` are like
    `counters`, for what may fall.
    `state` is what gateways share, None where there is none; `keys` are the API keys that there are now.
    `siblings` are the workers of this node. `name` is that of the policy, the same on all workers and nodes: as the
    configuration names it or, for one of a route's own, the route and its place there."""

    counters: Counters
    pools: Mapping[str, Pool]
    version_of: Callable[[Target, str], str] = as_written
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    gauges: Counters = unread
    rng: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    spawn: Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]] = spawn
    signature: Signature = no_signature
    state: State | None = None
    keys: KeyRing = field(default_factory=Keys)
    siblings: Siblings = field(default_factory=Siblings)
    name: str = ""


@cache
def registry() -> dict[str, type[Node]]:
    """The options of each kind of policy there is, by directory."""
    kinds = sorted(module.name for module in iter_modules(__path__))
    return {kind: cast("type[Node]", import_module(f"policies.{kind}").Spec) for kind in kinds}


def needs_state(spec: PolicySpec, key_file: str | None = None) -> bool:
    """Whether a policy with these options uses the shared state: its `Spec` says so by `needs_state`, or by
    `needs_keys` where no file has these; attributes or properties that are no options."""
    options = msgspec.convert(spec.options, registry()[spec.kind])
    needs_keys = getattr(options, "needs_keys", False) and key_file is None
    return bool(needs_keys or getattr(options, "needs_state", False))


def make(spec: PolicySpec, services: Services) -> Policy:
    """The policy that a configuration describes. Raises `KeyError` for a kind that there is not, and
    `msgspec.ValidationError` for options that its `Spec` does not have."""
    options = msgspec.convert(spec.options, registry()[spec.kind])
    return cast(Policy, import_module(f"policies.{spec.kind}").Policy(options, services))
