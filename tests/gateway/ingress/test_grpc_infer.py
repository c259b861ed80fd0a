"""Policies around ModelInfer: who calls is known before anything is chosen, and what they tell is metadata."""

from __future__ import annotations

import grpc
import pytest

from config.routes import PolicySpec
from config.schema import Target
from tests.support.acting import BADGE, RETRY_INFO, Acting, Badge, act
from tests.support.data_plane import a_route
from tests.support.model_server import request_of
from tests.support.routed import a_rule, routed, told

OWN = a_rule(Target("b", version="2"), "own", principal=("ann",))


def test_identity_comes_before_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    badge, note = Badge(), Acting(lambda call: call.tell(b"x-note", b"1"))
    act(monkeypatch, badge=badge, note=note)
    with routed(a_route("m", "a", rules=(OWN,), policies=(BADGE, PolicySpec("note")))) as it:
        _, done = it.plane.stub().ModelInfer.with_call(request_of(), metadata=[("x-badge", "ann")], timeout=20)
        metadata = dict(done.initial_metadata())
        assert told(done.initial_metadata()) == {"route": "m", "variant": "own", "model-version": "2"}
        assert (metadata["x-checked"], metadata["x-note"]) == ("yes", "1")
        assert badge.seen == [
            {"message": False, "model": "m", "version": "", "principal": "ann", "infer": False,
             "view": ("grpc", "infer", "m")}
        ]  # fmt: skip
        assert note.seen == [badge.seen[0] | {"message": True, "version": "2"}]
        assert it.asked() == (0, 1)


def test_a_refusal_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, badge=Badge())
    with routed(a_route("m", "a", policies=(BADGE,))) as it:
        with pytest.raises(grpc.RpcError) as caught:
            it.plane.stub().ModelInfer(request_of(), timeout=20)
        error = caught.value
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        trailers = dict(error.trailing_metadata())
        assert (trailers["www-authenticate"], trailers["x-checked"]) == ("Bearer", "yes")
        assert trailers["grpc-status-details-bin"] == RETRY_INFO
        assert it.asked() == (0, 0)
        it.plane.wait_idle()
        assert it.plane.codes() == {"UNAUTHENTICATED": 1}
