"""A caller's own limit is 429 and nobody's fault but its own; missing room is 503 and capacity."""

from __future__ import annotations

import math

import pytest

from policies.fallback import why
from policies.retry import may_repeat
from routing.refusals import QUOTA_EXCEEDED, REDUCED_CAPACITY, no_room, over_limit
from tests.support.pools import a_call
from transcoding.status import Code, Fault


def test_an_own_limit() -> None:
    error = over_limit("text", 1.2, ["a"], ((b"ratelimit", b"x"),))
    assert (error.code, error.http_status, error.fault) == (Code.RESOURCE_EXHAUSTED, 429, Fault.CLIENT)
    assert (error.retry_after, error.executed, error.fields) == (2.0, False, ((b"ratelimit", b"x"),))
    assert error.problem == {"type": QUOTA_EXCEEDED, "violated-policies": ["a"]}
    assert b"google.rpc.RetryInfo" in error.details


def test_no_room() -> None:
    error = no_room("text", 0.01, ["a"])
    assert (error.code, error.http_status, error.fault) == (Code.UNAVAILABLE, 503, Fault.BUSY)
    assert error.retry_after == 1.0
    assert error.problem == {"type": REDUCED_CAPACITY, "violated-policies": ["a"]}


def test_what_never_comes_has_no_time() -> None:
    error = over_limit("text", math.inf, ["a"])
    assert error.retry_after is None
    assert b"RetryInfo" not in error.details


@pytest.mark.parametrize("idempotent", [False, True])
def test_nobody_sends_a_call_again_for_its_own_limit(idempotent: bool) -> None:
    call = a_call()
    call.idempotent = idempotent
    assert not may_repeat(call, over_limit("text", 0.0, ["a"]))
    assert why(call, over_limit("text", 0.0, ["a"])) is None
    assert why(call, no_room("text", 0.0, ["a"])) == "overloaded"
