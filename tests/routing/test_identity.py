"""Who calls is told to all that ask for it."""

from __future__ import annotations

from routing.identity import NOBODY, Identity, introduce
from tests.support.callers import a_call_with
from tests.support.pools import a_call


def test_introducing_tells_the_call_and_its_head() -> None:
    call, alice = a_call_with(), Identity("alice", "acme", frozenset({"infer"}))
    introduce(call, alice)
    assert call.view is not None
    assert (call.caller, call.principal, call.view.principal) == (alice, "alice", "alice")


def test_a_call_without_a_head_may_be_introduced_too() -> None:
    call = a_call()
    introduce(call, Identity("bob"))
    assert call.principal == "bob"


def test_nobody_has_no_rights() -> None:
    assert (NOBODY.principal, NOBODY.tenant, NOBODY.scopes, dict(NOBODY.limits)) == ("", "", frozenset(), {})
