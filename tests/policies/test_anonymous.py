"""Who shows nothing is let in as one principal, and nobody else is."""

from __future__ import annotations

import pytest

from policies.anonymous import Policy, Spec
from routing.identity import Identity, introduce
from tests.support.callers import a_call_with, caller_of, challenge_of, refusal_of
from tests.support.policies import some_services
from tests.support.pools import a_call


def policy(**options: object) -> Policy:
    return Policy(Spec(**options), some_services())  # type: ignore[arg-type]


def test_who_shows_nothing_is_one_principal() -> None:
    assert caller_of(policy(), a_call_with({"x": "y"})) == Identity("anonymous", kind="anonymous")
    guest = caller_of(policy(principal="guest", tenant="public", scopes=("look",)), a_call_with())
    assert guest == Identity("guest", "public", frozenset({"look"}), "anonymous")


@pytest.mark.parametrize("value", ["Bearer x", "Basic eDp5", "", "nonsense"])
def test_an_authorization_that_nobody_took_is_refused(value: str) -> None:
    refused = refusal_of(policy(realm="here"), a_call_with({"authorization": value}))
    assert refused.message == "the credential is of no kind that is accepted here"
    assert challenge_of(refused).startswith('Bearer realm="here", error="invalid_token"')


def test_without_the_head_of_a_request_nobody_is_let_in() -> None:
    refusal_of(policy(), a_call())


def test_whom_the_listener_knows_stays_who_it_is() -> None:
    call, alice = a_call_with({"authorization": "Bearer x"}), Identity("alice", kind="jwt")
    introduce(call, alice)
    assert caller_of(policy(), call) is alice
