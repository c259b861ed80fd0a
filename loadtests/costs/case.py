"""A policy at work, and the calls that go through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from config.routes import PolicySpec
from loadtests.payloads import small
from policies import Services, make
from routing.call import Call, Policy
from routing.identity import Identity, introduce
from routing.match import INFER, REST, View
from state import State
from transcoding.methods import BY_NAME

CALLS = 100
MODEL = "simple"
MESSAGE = small("grpc").body
"""Two tensors INT32[1,16] for it, as one gRPC message with its prefix."""
HEAD = {"host": "gateway", "user-agent": "client", "content-type": "application/json", "content-length": "120"}


class Cell:
    """A counter."""

    value = 0.0


class Case(NamedTuple):
    """A policy at work: `calls` gives one call after the other, `per_round` is how many are measured at a time.

    What a policy leaves to other tasks counts too: so many `turns` of the loop are given to them. With `at_a_time`
    above 0 calls wait for something outside, so many at once; then it is CPU time of the process that is measured.
    """

    kind: str
    name: str
    policy: Policy
    calls: Callable[[], Iterator[Call]]
    per_round: int = CALLS
    turns: int = 0
    at_a_time: int = 0

    @property
    def title(self) -> str:
        """The line of the table."""
        return f"{self.kind}: {self.name}" if self.name else self.kind


class Stage(NamedTuple):
    """What cases have beside their calls: a directory of their own, and a store where there is one."""

    directory: str
    state: State | None = None


Cases = AsyncIterator[Case]


def services(**more: Any) -> Services:
    """What policies are given, with counters that nobody reads, and gauges likewise."""
    cell = Cell()
    return Services(lambda family, labels=(): cell, more.pop("pools", {}), **more)


def a_policy(kind: str, given: Services | None = None, **options: Any) -> Policy:
    """A policy as a configuration makes it."""
    return make(PolicySpec(kind, options), given or services())


def a_call(headers: dict[str, str] | None = None, caller: Identity | None = None, version: str = "1") -> Call:
    """A call with the head of a usual client, its message as it came over gRPC."""
    named = {name.encode(): value.encode() for name, value in {**HEAD, **(headers or {})}.items()}
    call = Call(BY_NAME["ModelInfer"], MODEL, version, (MESSAGE,), route="r")
    call.view = View(REST, INFER, MODEL, named, "192.0.2.1")
    if caller is not None:
        introduce(call, caller)
    return call


def again(call: Call) -> Callable[[], Iterator[Call]]:
    """The same call for ever, and nothing of what became of it before."""
    infer, metadata, caller, principal = call.infer, call.metadata, call.caller, call.principal

    def calls() -> Iterator[Call]:
        while True:
            call.told = call.prepare = call.deadline = None
            call.infer, call.metadata = infer, metadata
            call.caller, call.principal = caller, principal
            yield call

    return calls


def in_turn(calls: Sequence[Call]) -> Callable[[], Iterator[Call]]:
    """One call after the other, and round again."""
    return lambda: cycle(calls)


def bearer(text: str) -> dict[str, str]:
    """The header of a credential."""
    return {"authorization": f"Bearer {text}"}


async def turn(count: int) -> None:
    """Let other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)
