"""Ways to say who calls are alternatives; refusals challenge as RFC 6750 has it."""

from __future__ import annotations

import pytest

from routing.authentication import Authenticator, Challenge, bearer, hide
from routing.call import Call, Handler, Reply
from routing.identity import NOBODY, Identity
from tests.support.callers import a_call_with, caller_of, challenge_of, refusal_of
from tests.support.policies import Counts
from transcoding.http2.hpack import encode
from transcoding.status import Code, GatewayError

COUNTS = Counts()


class ByHeader(Authenticator):
    """Takes whoever says its own name in a header, but for `wrong`."""

    def __init__(self, header: str, hides: bool = False) -> None:
        self._header = header.encode()
        self.hides = self._header if hides else b""
        self.asked = 0

    async def identify(self, call: Call) -> Identity | None:
        self.asked += 1
        assert call.view is not None
        value = call.view.headers.get(self._header)
        hide(call, self.hides)
        if value == b"wrong":
            raise Challenge("test", COUNTS).invalid("it is wrong")
        return None if value is None else Identity(value.decode(), kind=self._header.decode())

    def missing(self, call: Call) -> GatewayError:
        return Challenge("test", COUNTS).missing(f"no {self._header.decode()}")


class Note:
    """Any other policy: notes who is known when it runs."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, call: Call, next: Handler, /) -> Reply:
        self.seen.append(call.principal)
        return await next(call)


def test_one_alone_takes_or_refuses() -> None:
    policy = ByHeader("a")
    assert caller_of(policy, a_call_with({"a": "alice"})) == Identity("alice", kind="a")
    assert refusal_of(policy, a_call_with()).message == "no a"
    assert refusal_of(policy, a_call_with({"a": "wrong"})).message == "it is wrong"


def test_the_first_whose_credential_is_there_decides_and_those_behind_are_not_asked() -> None:
    first, second, third = ByHeader("a"), ByHeader("b"), ByHeader("c")
    chain = [first, second, third]
    assert caller_of(chain, a_call_with({"b": "bob", "c": "wrong"})).principal == "bob"
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)
    assert caller_of(chain, a_call_with({"c": "carol"})).principal == "carol"


@pytest.mark.parametrize("wrong", ["a", "b"])
def test_a_wrong_credential_is_never_passed_on(wrong: str) -> None:
    refused = refusal_of([ByHeader("a"), ByHeader("b"), ByHeader("c")], a_call_with({wrong: "wrong", "c": "carol"}))
    assert refused.message == "it is wrong"


def test_the_last_one_refuses_who_shows_nothing() -> None:
    assert refusal_of([ByHeader("a"), ByHeader("b")], a_call_with({"x": "y"})).message == "no b"


def test_other_policies_run_once_wherever_they_stand() -> None:
    before, between, behind = Note(), Note(), Note()
    chain = [before, ByHeader("a"), between, ByHeader("b"), behind]
    for header, known in (("a", "alice"), ("b", "")):
        caller_of(chain, a_call_with({header: "alice"}))
        assert before.seen.pop() == ""
        assert between.seen.pop() == known
        assert behind.seen.pop() == "alice"
    assert [before.seen, between.seen, behind.seen] == [[], [], []]


def test_a_credential_goes_no_further_even_if_another_one_decided() -> None:
    call = a_call_with({"a": "alice", "b": "secret"}, {"b": "secret", "x": "y"})
    caller_of([ByHeader("a"), ByHeader("b", hides=True)], call)
    assert call.metadata == encode([(b"x", b"y")])


def test_the_caller_is_known_to_rules_and_splits_too() -> None:
    call = a_call_with({"a": "alice"})
    assert call.caller is NOBODY
    caller_of(ByHeader("a"), call)
    assert call.view is not None
    assert call.view.principal == "alice"


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (None, None),
        ("Basic YWxhZGRpbjpvcGVuc2VzYW1l", None),
        ("Bearertoken", None),
        ("Bearer t.o.k", b"t.o.k"),
        ("bEaReR   t ", b"t"),
        ("Bearer ", b""),
        ("Bearer a, Bearer b", b"a, Bearer b"),
    ],
)
def test_bearer_tokens(value: str | None, token: bytes | None) -> None:
    view = a_call_with({} if value is None else {"authorization": value}).view
    assert view is not None
    assert bearer(view) == token


def test_refusals_say_what_rfc_6750_asks_for() -> None:
    counts = Counts()
    challenge = Challenge("api_key", counts, "my realm")
    missing, invalid = challenge.missing("show a key"), challenge.invalid("the key is not valid")
    assert (missing.code, missing.http_status, invalid.code) == (Code.UNAUTHENTICATED, 401, Code.UNAUTHENTICATED)
    family = "penstock_unauthenticated_total"
    assert counts.all() == {(family, "api_key", "missing"): 1, (family, "api_key", "invalid"): 1}
    assert challenge_of(missing) == 'Bearer realm="my realm"'
    assert challenge_of(invalid) == (
        'Bearer realm="my realm", error="invalid_token", error_description="the key is not valid"'
    )


def test_a_realm_cannot_break_out_of_its_quotes() -> None:
    challenge = challenge_of(Challenge("k", COUNTS, 'a"b\\cü', "ApiKey", header="x").missing(""))
    assert challenge == 'ApiKey realm="a\\"b\\\\c?", header="x"'
