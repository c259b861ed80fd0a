"""Gateways share a pool when they mean the same endpoints by it."""

from __future__ import annotations

import os

import pytest

from config.pools import Discover, Endpoint, Managed, Pick, Pool, Readiness
from gateway.control import groups as module
from gateway.control.groups import groups_of, is_local, network

HERE = Pool((Endpoint("gpu-1:8001"), Endpoint("gpu-2:8001")))


def group(pool: Pool, name: str = "gpus") -> str:
    return groups_of({name: pool})[name]


def test_the_order_of_endpoints_and_how_they_are_watched_do_not_matter() -> None:
    assert group(HERE) == group(Pool(HERE.endpoints[::-1], readiness=Readiness(interval=3.0)))


@pytest.mark.parametrize(
    "other",
    [
        Pool((Endpoint("gpu-1:8001"),)),
        Pool((Endpoint("gpu-1:8001"), Endpoint("gpu-2:8001", weight=2.0))),
        Pool(HERE.endpoints, pick=Pick("round_robin")),
        Pool(discover=Discover(dns="gpus:8001")),
        Pool(discover=Discover(srv="_grpc._tcp.gpus")),
        Pool(discover=Discover(dns="gpus:8001", nameserver="10.0.0.1:53")),
    ],
)
def test_other_endpoints_make_another_group(other: Pool) -> None:
    assert group(other) != group(HERE)
    assert group(other) == group(other)


def test_so_does_another_name() -> None:
    assert group(HERE, "a") != group(HERE, "b")


def test_own_tritons_are_in_no_group() -> None:
    assert groups_of({"own": Pool(managed=Managed(("models",)))}) == {}


@pytest.mark.parametrize("address", ["127.0.0.1:8001", "localhost:8001", "[::1]:8001", "unix:/run/triton"])
def test_what_is_local_is_elsewhere_on_another_machine(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    local, far = Pool((Endpoint(address),)), Pool((Endpoint("gpu-1:8001"),))
    before = group(local), group(far)
    assert before == (group(local), group(far))
    monkeypatch.setattr(module, "network", lambda: "another")
    assert (group(local) != before[0], group(far)) == (True, before[1])


def test_a_name_that_only_begins_like_an_address_is_not_local() -> None:
    assert not any(map(is_local, ("127x.example:1", "localhost.example:1", "[fe80::1]:1", "10.127.0.1:1")))


def test_the_network_is_the_same_for_who_is_in_it() -> None:
    assert network() == network()
    assert str(os.stat("/proc/self/ns/net").st_ino) in network()
