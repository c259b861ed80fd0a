"""Rules allow, the rest is forbidden, and what is hidden looks as if it were not there."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from policies.authorize import REMEMBERED, Policy, Spec, compiled, decide
from routing.call import Call
from routing.identity import NOBODY, Identity
from routing.pool import unknown_model
from tests.support.callers import Behind, a_call_with, spec_of
from tests.support.clock import Clock
from tests.support.policies import Counts, some_services
from transcoding.methods import BY_NAME
from transcoding.status import Code, GatewayError

ALICE = Identity("alice", "acme", frozenset({"infer", "gpu"}))
BOB = Identity("bob", "other")
SPEC: dict[str, Any] = {
    "allow": [
        {"principals": ["al*"], "models": ["resnet*"], "versions": ["1", "2"]},
        {"tenants": ["acme"], "models": ["bert"], "apis": ["metadata", "statistics"]},
        {"scopes": ["admin", "gpu"], "models": ["gpt"], "apis": ["inference"]},
        {"principals": ["root"], "apis": ["repository"]},
    ]
}


def decision(caller: Identity, model: str, version: str = "", api: str = "inference") -> str:
    rules = [compiled(rule) for rule in spec_of(Spec, **SPEC).allow]
    return decide(rules, caller, model, version, api)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "version", "api", "expected"),
    [
        ("resnet50", "1", "inference", "allowed"),
        ("resnet50", "2", "metadata", "allowed"),
        ("resnet50", "3", "inference", "other_versions"),
        ("resnet50", "", "inference", "other_versions"),
        ("resnet50", "1", "repository", "other_apis"),
        ("bert", "", "metadata", "allowed"),
        ("bert", "7", "statistics", "allowed"),
        ("bert", "", "inference", "other_apis"),
        ("gpt", "", "inference", "allowed"),
        ("gpt", "", "metadata", "other_apis"),
        ("other", "", "inference", "nothing"),
        ("Resnet50", "1", "inference", "nothing"),
        ("", "", "repository", "nothing"),
    ],
)
def test_rules_for_one_caller(model: str, version: str, api: str, expected: str) -> None:
    assert decision(ALICE, model, version, api) == expected


@pytest.mark.parametrize("caller", [BOB, NOBODY, Identity("ALICE")], ids=repr)
def test_others_may_nothing(caller: Identity) -> None:
    assert {decision(caller, model, "1") for model in ("resnet50", "bert", "gpt")} == {"nothing"}


def test_what_is_about_no_model_fits_rules_that_take_all_models() -> None:
    assert decision(Identity("root"), "", "", "repository") == "allowed"
    assert decision(Identity("root"), "any", "9", "repository") == "allowed"


def test_without_rules_nothing_is_allowed_and_names_fit_nobody_unknown() -> None:
    assert decide([], ALICE, "m", "1", "inference") == "nothing"
    anyone = [compiled(rule) for rule in spec_of(Spec, allow=[{"principals": ["*"]}]).allow]
    assert decide(anyone, NOBODY, "m", "", "inference") == "nothing"
    everyone = [compiled(rule) for rule in spec_of(Spec, allow=[{}]).allow]
    assert decide(everyone, NOBODY, "m", "", "inference") == "allowed"


def test_repository_and_the_like_are_only_for_who_is_named_for_them() -> None:
    everyone = [compiled(rule) for rule in spec_of(Spec, allow=[{}]).allow]
    for api in ("statistics", "repository", "trace", "logging", "shared_memory"):
        assert decide(everyone, ALICE, "m", "1", api) == "other_apis"  # type: ignore[arg-type]


class World:
    """A policy, and the calls that it let through."""

    def __init__(self, **options: Any) -> None:
        self.counts, self.clock, self.behind = Counts(), Clock(), Behind()
        self.policy = Policy(spec_of(Spec, **{**SPEC, **options}), some_services(self.counts, self.clock))

    def ask(self, call: Call) -> GatewayError | None:
        async def run() -> None:
            await self.policy(call, self.behind)

        try:
            asyncio.run(run())
        except GatewayError as error:
            return error
        return None


def a_call(caller: Identity, model: str, version: str = "", asked: str = "", method: str = "ModelInfer") -> Call:
    call = a_call_with()
    call.caller, call.principal, call.model, call.version, call.route = caller, caller.principal, model, version, "r"
    call.method = BY_NAME[method]
    assert call.view is not None
    call.view.model = asked or model
    return call


def test_what_is_allowed_passes_and_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    call = a_call(ALICE, "resnet50", "1")
    assert world.ask(call) is None
    monkeypatch.setattr("policies.authorize.decide", lambda *_: "nothing")
    assert world.ask(call) is None
    assert world.ask(a_call(ALICE, "resnet50", "2")) is not None
    assert world.behind.calls == [call, call]


def test_what_is_remembered_is_bounded() -> None:
    world = World()
    for number in range(REMEMBERED + 10):
        world.policy._decided[("", "", frozenset(), str(number), "", "inference")] = "nothing"
        if number % 1000 == 0:
            world.ask(a_call(BOB, f"m{number}"))
    world.ask(a_call(BOB, "last"))
    assert len(world.policy._decided) <= REMEMBERED


@pytest.mark.parametrize("caller", [BOB, ALICE], ids=lambda caller: caller.principal)
def test_unknown_and_forbidden_look_the_same(caller: Identity) -> None:
    world = World()
    forbidden, unknown = world.ask(a_call(caller, "secret-model")), unknown_model("secret-model")
    assert forbidden is not None
    for field in ("code", "http_status", "message", "fields", "problem", "details", "retry_after", "fault"):
        assert getattr(forbidden, field) == getattr(unknown, field)
    assert world.behind.calls == []


def test_what_is_hidden_tells_nothing_of_where_it_would_have_gone() -> None:
    world = World()
    hidden, refused = a_call(BOB, "resnet50"), a_call(ALICE, "bert")
    for call in (hidden, refused):
        assert world.ask(call) is not None
    assert (hidden.hidden, refused.hidden) == (True, False)


def test_a_model_is_named_as_the_client_named_it() -> None:
    hidden = World().ask(a_call(BOB, "internal-name", asked="alias"))
    assert hidden is not None
    assert hidden.message == unknown_model("alias").message


def test_who_may_do_other_things_is_told_so() -> None:
    world = World()
    refused = world.ask(a_call(ALICE, "bert"))
    assert refused is not None
    assert (refused.code, refused.message) == (Code.PERMISSION_DENIED, "inference is not allowed for model 'bert'")
    index = world.ask(a_call(ALICE, "", method="RepositoryIndex"))
    assert index is not None
    assert (index.code, index.message) == (Code.PERMISSION_DENIED, "repository is not allowed")


def test_a_version_that_is_not_for_the_caller_looks_as_if_it_were_not_there() -> None:
    world = World()
    refused = world.ask(a_call(ALICE, "resnet50", "3"))
    assert refused is not None
    assert refused.message == unknown_model("resnet50", "3").message
    unnamed = world.ask(a_call(ALICE, "resnet50"))
    assert unnamed is not None
    assert unnamed.message == "inference is not allowed for model 'resnet50', unless it names a version"


def test_shadow_lets_through_and_counts_and_logs_with_restraint(caplog: pytest.LogCaptureFixture) -> None:
    world = World(mode="shadow")
    with caplog.at_level(logging.WARNING):
        for number in (1, 1, 2, 3):
            assert world.ask(a_call(BOB, f"m{number}")) is None
        world.clock.now += 1.0
        assert world.ask(a_call(BOB, "m4")) is None
    assert world.counts[("penstock_forbidden_total", "r", "shadow")] == 5
    assert [record.getMessage() for record in caplog.records] == [
        f"authorize would refuse 'bob': inference of model '{model}' version ''" for model in ("m1", "m4")
    ]


def test_a_refusal_is_counted() -> None:
    world = World()
    world.ask(a_call(BOB, "m"))
    assert world.counts[("penstock_forbidden_total", "r", "enforce")] == 1


def test_what_a_request_is_about_besides_must_be_allowed_too() -> None:
    world = World()
    call = a_call(ALICE, "resnet50", "1", asked="net")
    call.also = (("resnet18", "2"), ("resnet18", "9"))
    refused = world.ask(call)
    assert refused is not None
    assert refused.message == unknown_model("net", "9").message
    call.also = call.also[:1]
    assert world.ask(call) is None
