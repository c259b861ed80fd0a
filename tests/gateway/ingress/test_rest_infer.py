"""Policies around inferences over REST: who calls is known before anything is read or chosen."""

from __future__ import annotations

import gzip
import json

import pytest

from config.routes import PolicySpec
from config.schema import Target
from tests.support.acting import BADGE, Acting, Badge, act
from tests.support.data_plane import a_route
from tests.support.h2_requests import H2Client
from tests.support.routed import a_rule, routed, told

DOCUMENT = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [3], "data": [1, 2, 3]}]}
BODY = json.dumps(DOCUMENT).encode()
INFER = "/v2/models/m/infer"
OWN = a_rule(Target("b", version="2"), "own", principal=("ann",))


def test_identity_comes_before_the_body_and_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    badge, note = Badge(), Acting(lambda call: call.tell(b"x-note", b"1"))
    act(monkeypatch, badge=badge, note=note)
    with routed(a_route("m", "a", rules=(OWN,), policies=(BADGE, PolicySpec("note")))) as it:
        answer = it.plane.post(INFER, BODY, {"x-badge": "ann"})
        assert (answer.status, told(answer.headers)["variant"]) == (200, "own")
        assert (answer.headers["x-checked"], answer.headers["x-note"]) == ("yes", "1")
        assert badge.seen == [
            {"message": False, "model": "m", "version": "", "principal": "ann", "infer": False,
             "view": ("rest", "infer", "m")}
        ]  # fmt: skip
        assert note.seen == [badge.seen[0] | {"message": True, "version": "2", "infer": True}]
        assert told(it.plane.post(INFER, BODY, {"x-badge": "bob"}).headers) == {"route": "m"}
        assert it.asked() == (1, 1)


def test_a_refusal_reads_nothing_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, badge=Badge())
    with routed(a_route("m", "a", policies=(BADGE,))) as it:
        answer = it.plane.post(INFER, b"no JSON")
        assert (answer.status, answer.headers["content-type"]) == (401, "application/problem+json")
        assert answer.json == {
            "error": "who are you?", "type": "about:who", "title": "Unauthorized", "status": 401,
            "detail": "who are you?",
        }  # fmt: skip
        assert (answer.headers["www-authenticate"], answer.headers["x-checked"]) == ("Bearer", "yes")
        assert it.asked() == (0, 0)
        it.plane.wait_idle()
        assert it.plane.codes() == {"UNAUTHENTICATED": 1}


def test_what_a_compressed_body_holds_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, badge=Badge())
    with routed(a_route("m", "a", policies=(BADGE,))) as it:
        headers = {"x-badge": "ann", "content-encoding": "gzip"}
        assert it.plane.post(INFER, gzip.compress(BODY), headers).status == 200
        del headers["x-badge"]
        assert it.plane.post(INFER, gzip.compress(BODY), headers).status == 401
        it.plane.wait_idle()


def test_over_http2_too(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, badge=Badge())
    with routed(a_route("m", "a", policies=(BADGE,))) as it, H2Client(it.plane.port()) as client:
        refused = client.response(client.request(INFER, BODY))
        assert {(b":status", b"401"), (b"www-authenticate", b"Bearer")} <= set(refused.headers[0])
        answer = client.response(client.request(INFER, BODY, [(b"x-badge", b"ann")]))
        assert {(b":status", b"200"), (b"x-checked", b"yes")} <= set(answer.headers[0])


def test_a_policy_alone_may_look_at_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    note = Acting()
    note.needs_view = True
    act(monkeypatch, note=note)
    with routed(a_route("m", "a", policies=(PolicySpec("note"),))) as it:
        assert it.plane.post(INFER, BODY).status == 200
        assert note.seen[0]["view"] == ("rest", "infer", "m")


def test_policies_that_do_not_look_cost_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    note = Acting()
    act(monkeypatch, note=note)
    with routed(a_route("m", "a", policies=(PolicySpec("note"),))) as it:
        assert it.plane.post(INFER, BODY).status == 200
        assert note.seen[0]["view"] is None
