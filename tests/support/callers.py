"""Calls with heads, for tests of the policies that say who calls, and what is behind them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from routing.call import Call, Policy, Reply, link
from routing.identity import Identity
from routing.match import INFER, REST, View
from tests.support.pools import OK, a_call
from transcoding.http2 import hpack
from transcoding.status import GatewayError


def a_call_with(headers: Mapping[str, str] | None = None, forwarded: Mapping[str, str] | None = None) -> Call:
    """A call whose head has these headers, and of which those of `forwarded` are to travel upstream."""
    call = a_call()
    named = {name.encode(): value.encode("latin-1") for name, value in (headers or {}).items()}
    call.view = View(REST, INFER, "m", named, "192.0.2.1")
    call.metadata = hpack.encode([(name.encode(), value.encode()) for name, value in (forwarded or {}).items()])
    return call


class Behind:
    """What stands behind a chain, and notes who calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        return Reply(OK)


def caller_of(policies: Policy | Sequence[Policy], call: Call) -> Identity:
    """Who a chain says calls. Raises the `GatewayError` with which it refuses."""
    behind = Behind()
    chain = link(policies if isinstance(policies, Sequence) else [policies], behind)

    async def run() -> None:
        await chain(call)

    asyncio.run(run())
    (seen,) = behind.calls
    assert seen.principal == seen.caller.principal
    return seen.caller


def refusal_of(policies: Policy | Sequence[Policy], call: Call) -> GatewayError:
    """The error with which a chain refuses a call; nothing behind it hears of the call."""
    try:
        caller = caller_of(policies, call)
    except GatewayError as error:
        return error
    raise AssertionError(f"let in as {caller}")


def challenge_of(error: GatewayError) -> str:
    """The challenge of a refusal."""
    (value,) = (value for name, value in error.fields if name == b"www-authenticate")
    return value.decode("ascii")


class Wall:
    """The time of day for tests, which passes only when told."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now


def spec_of(cls: type[Any], **options: Any) -> Any:
    """Options as a configuration gives them to a worker."""
    import msgspec

    return msgspec.convert(options, cls)
