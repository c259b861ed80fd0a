"""Equal policies keep their object, and a fallback's version means what it means now."""

from __future__ import annotations

import asyncio

import pytest

from config.routes import PolicySpec, Target
from gateway.policies import Shelf
from routing.call import Call, Policy, Reply
from routing.connectors.outcome import from_status
from routing.pool import Pool
from routing.versions import Latest
from tests.support.data_plane import a_config, a_route
from tests.support.policies import Counts
from tests.support.pools import a_call, a_pool, an_endpoint
from transcoding.status import GatewayError

SHARED = PolicySpec("retry", {"attempts": 3}, name="again")
TIMEOUT = PolicySpec("timeout", {"total": 2.0})


def a_shelf(pool: Pool | None = None) -> Shelf:
    latest = {pool.name: Latest(pool)} if pool is not None else {}
    return Shelf(Counts(), {pool.name: pool} if pool is not None else {}, lambda pool: latest[pool.name])


def test_a_shared_policy_is_one_object_and_others_are_each_routes_own() -> None:
    shelf = a_shelf()
    first = shelf.policies_of(a_route("a", policies=(SHARED, TIMEOUT)))
    second = shelf.policies_of(a_route("b", policies=(TIMEOUT, SHARED)))
    assert first[0] is second[1]
    assert first[1] is not second[0]


def test_what_stays_as_it_is_keeps_its_object_across_configurations() -> None:
    shelf = a_shelf()
    before = shelf.policies_of(a_route("a", policies=(SHARED, TIMEOUT)))
    changed = PolicySpec("timeout", {"total": 9.0})
    after = shelf.policies_of(a_route("a", policies=(SHARED, changed)))
    assert after[0] is before[0]
    assert after[1] is not before[1]


def test_what_no_route_has_any_more_is_forgotten() -> None:
    shelf = a_shelf()
    route = a_route("a", policies=(SHARED, TIMEOUT))
    before = shelf.policies_of(route)
    shelf.keep(a_config(routes=[route]))
    assert shelf.policies_of(route) == before
    shelf.keep(a_config(routes=[a_route("a", policies=(TIMEOUT, SHARED))]))
    assert shelf.policies_of(route)[0] is before[0]
    assert shelf.policies_of(route)[1] is not before[1]


@pytest.mark.parametrize(("version", "meant"), [(None, ""), ("7", "7"), ("latest", "2"), ("stable", "1")])
def test_a_version_is_a_number_a_label_or_the_latest(version: str | None, meant: str) -> None:
    shelf = a_shelf(a_pool([an_endpoint("a:1", {"m": {"1": "READY", "2": "READY"}})]))
    shelf.labels = {"m": {"stable": "1"}}
    assert shelf.version_of(Target("p", version=version), "m") == meant


def test_a_label_that_the_model_has_not_is_an_error() -> None:
    with pytest.raises(GatewayError, match="no version with the label 'stable'"):
        a_shelf().version_of(Target("p", version="stable"), "m")


def test_a_budget_that_one_route_used_up_is_still_there_for_another() -> None:
    """But for a shared policy, which is one for all of its routes."""
    options = {"idempotent": True, "budget": 0.0, "min_per_second": 0.2, "backoff": 0.0, "max_backoff": 0.0}

    async def fails(call: Call) -> Reply:
        call.attempts += 1
        raise from_status(13, "boom")

    def refused(policy: Policy, route: str) -> bool:
        """Whether a call of this route was tried only once."""
        call = a_call()
        call.route = route
        with pytest.raises(GatewayError, match="boom"):
            asyncio.run(policy(call, fails))
        return call.attempts == 1

    shelf = a_shelf()
    for shared in (False, True):
        spec = PolicySpec("retry", options, name="again" if shared else "")
        (first,), (second,) = (shelf.policies_of(a_route(name, policies=(spec,))) for name in ("a", "b"))
        while not refused(first, "a"):
            pass
        assert refused(second, "b") is shared
