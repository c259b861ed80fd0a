"""Whose limit a call counts against: no value that a client chooses is another one's key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.headers import LIMIT_KEYS
from routing.call import Call
from routing.identity import Identity
from routing.limit_key import limit_key, named, needs_pool, needs_view, network
from routing.match import View
from tests.support.pools import a_call


def call_of(principal: str = "", tenant: str = "", address: str = "", **headers: str) -> Call:
    call = a_call()
    call.caller = Identity(principal, tenant)
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    call.view = View("rest", "infer", "m", fields, address)
    call.route, call.pool = "r", "p"
    return call


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (["all"], "all"),
        (["principal"], "principal=alice"),
        (["tenant", "model"], "tenant=acme:model=m"),
        (["route"], "route=r"),
        (["pool", "model"], "pool=p:model=m"),
        (["address"], "address=10.0.0.9"),
        (["header:x-user"], "header.x-user=bob"),
        (["header:x-none"], "header.x-none="),
    ],
)
def test_keys(parts: list[str], key: str) -> None:
    assert limit_key(parts)(call_of("alice", "acme", "10.0.0.9", x_user="bob")) == key


@pytest.mark.parametrize("part", LIMIT_KEYS)
def test_each_part_that_may_be_written_can_be_read(part: str) -> None:
    assert limit_key([part])(call_of()).startswith(part)
    assert limit_key([part])(a_call()).startswith(part)


@given(st.lists(st.text(max_size=70), min_size=2, max_size=2), st.lists(st.text(max_size=70), min_size=2, max_size=2))
def test_other_values_are_another_key(one: list[str], other: list[str]) -> None:
    key = limit_key(["principal", "tenant"])
    same = key(call_of(*one)) == key(call_of(*other))
    assert same == (one == other)
    assert len(key(call_of(*one))) < 2 * (64 + 10)


def test_a_key_has_no_letters_that_mean_something_to_a_store() -> None:
    for value in ("a:b", "a{b}c", "a*", "a b", "a\r\nDEL x", "x" * 65, "~" + "0" * 32, "ü"):
        assert named("principal", value).startswith("principal=~")


@pytest.mark.parametrize(
    ("address", "subnet"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:somewhere", "unix:somewhere"),
    ],
)
def test_one_client_has_one_network(address: str, subnet: str) -> None:
    assert network(address) == subnet


def test_what_a_key_needs() -> None:
    assert needs_view(["address"])
    assert needs_view(["principal", "header:x"])
    assert not needs_view(["principal", "all", "pool"])
    assert needs_pool(["pool", "model"])
    assert not needs_pool(["model"])
