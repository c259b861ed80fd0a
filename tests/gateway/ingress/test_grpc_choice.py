"""Rules, splits and versions for the requests of a stream."""

from __future__ import annotations

import grpc
import pytest

from config.routes import PolicySpec
from config.schema import Sticky, Target, Variant
from gateway.ingress import grpc_choice as module
from tests.support.acting import BADGE, Acting, Badge, act
from tests.support.data_plane import a_route
from tests.support.model_server import request_of
from tests.support.routed import Routed, a_rule, a_split, halves, routed, told
from tests.support.stream_client import Talk

CANARY = a_rule(Target("b", version="2"), "canary", header="x-canary", equals="yes")


def versions(talk: Talk, count: int) -> list[tuple[str, str]]:
    """Model and version of the next responses."""
    return [(each.infer_response.model_name, each.infer_response.model_version) for each in talk.hear(count)]


def ended(talk: Talk) -> list[tuple[str, str]]:
    """What the trailers tell, once the stream has ended well."""
    assert talk.rest() == []
    return [(name, value) for name, value in talk.call.trailing_metadata() if name.startswith("penstock-")]


def streamed(it: Routed) -> tuple[int, int]:
    return it.asked("streamed")


def test_rules_see_the_metadata_of_the_call() -> None:
    with routed(a_route("m", "a", rules=(CANARY,))) as it:
        talk = Talk(it.plane, metadata=[("x-canary", "yes")])
        talk.say(request_of(id="1"), request_of(id="2"))
        assert versions(talk, 2) == [("m", "2"), ("m", "2")]
        assert told(ended(talk)) == {"route": "m", "variant": "canary", "model-version": "2"}
        assert streamed(it) == (0, 2)
        assert it.plane.counted("penstock_requests_total") == {("m", "inference", "OK", "canary"): 1}


def test_a_rule_for_streams() -> None:
    with routed(a_route("m", "a", rules=(a_rule("b", "streams", method="stream"),))) as it:
        talk = Talk(it.plane)
        talk.say(request_of())
        assert (len(talk.hear()), told(ended(talk)), streamed(it)) == (1, {"route": "m", "variant": "streams"}, (0, 1))


def test_each_request_goes_by_its_own_model() -> None:
    with routed(a_route("m", "a", version="1"), a_route("other", "b", version="2")) as it:
        talk = Talk(it.plane)
        talk.say(request_of(), request_of("other"), request_of())
        assert versions(talk, 3) == [("m", "1"), ("other", "2"), ("m", "1")]
        assert ended(talk) == [
            ("penstock-route", "m"),
            ("penstock-model-version", "1"),
            ("penstock-route", "other"),
            ("penstock-model-version", "2"),
        ]
        assert streamed(it) == (2, 1)


def test_another_model() -> None:
    split = a_split(only=Variant("b", model="other"))
    with routed(a_route("m", split=split)) as it:
        talk = Talk(it.plane)
        talk.say(request_of(version="1"))
        assert versions(talk, 1) == [("other", "1")]
        assert told(ended(talk)) == {"route": "m", "variant": "only"}


def test_chance_decides_once_for_a_stream() -> None:
    with routed(a_route("m", split=halves())) as it:
        for _ in range(12):
            before = streamed(it)
            talk = Talk(it.plane)
            talk.say(*(request_of(id=str(number)) for number in range(5)))
            assert len(talk.hear(5)) == 5
            ended(talk)
            assert sorted(after - old for old, after in zip(before, streamed(it), strict=True)) == [0, 5]
        assert min(streamed(it)) > 0


def test_each_sequence_of_a_stream_has_its_own_variant() -> None:
    with routed(a_route("m", split=halves(Sticky(header="x-user")))) as it:
        talk = Talk(it.plane)
        for number in range(1, 31):
            for _ in range(2):
                request = request_of(id=str(number))
                request.parameters["sequence_id"].int64_param = number
                talk.say(request)
        assert len(talk.hear(60)) == 60
        assert sorted(told(ended(talk))) == ["route", "variant"]
        each = [{request.id for request in server.called("streamed")} for server in (it.a, it.b)]
        assert min(map(len, each)) > 0
        assert not each[0] & each[1]


def test_an_error_in_band_leaves_the_rest() -> None:
    labels = {"m": {"stable": "1"}}
    with routed(a_route("*", "a", version="stable"), labels=labels) as it:
        talk = Talk(it.plane)
        talk.say(request_of("other", id="bad"), request_of(id="good"))
        answers = {each.infer_response.id: each.error_message for each in talk.hear(2)}
        assert answers["good"] == ""
        assert "no version with the label 'stable'" in answers["bad"]


def test_what_is_remembered_and_told_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    monkeypatch.setattr(module, "MOST_TOLD", 1)
    with routed(a_route("m", "a", version="1"), a_route("*", split=halves())) as it:
        talk = Talk(it.plane)
        for number in range(8):
            request = request_of("other", id=str(number))
            request.parameters["sequence_id"].int64_param = number + 1
            talk.say(request_of(id=f"m{number}"), request)
        assert len(talk.hear(16)) == 16
        assert told(ended(talk)) == {"route": "m", "model-version": "1"}


def test_a_listener_that_tells_nothing() -> None:
    with routed(a_route("m", "a", rules=(CANARY,))) as it:
        talk = Talk(it.plane, metadata=[("x-canary", "yes")], listener=1)
        talk.say(request_of())
        assert versions(talk, 1) == [("m", "2")]
        assert ended(talk) == []


class TestWhoCalls:
    OWN = a_rule(Target("b", version="2"), "own", principal=("ann",))

    def test_it_is_known_before_each_choice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        badge, note = Badge(), Acting(lambda call: call.tell(b"x-note", b"1"))
        act(monkeypatch, badge=badge, note=note)
        with routed(a_route("m", "a", rules=(self.OWN,), policies=(BADGE, PolicySpec("note")))) as it:
            talk = Talk(it.plane, metadata=[("x-badge", "ann")])
            talk.say(request_of(id="1"), request_of(id="2"))
            assert versions(talk, 2) == [("m", "2"), ("m", "2")]
            assert told(ended(talk))["variant"] == "own"
            trailers = [pair for pair in talk.call.trailing_metadata() if pair[0].startswith("x-")]
            assert trailers == [("x-checked", "yes"), ("x-note", "1")]
            assert badge.seen == 2 * [
                {"message": False, "model": "m", "version": "", "principal": "ann", "infer": False,
                 "view": ("grpc", "stream", "m")}
            ]  # fmt: skip
            assert note.seen == 2 * [badge.seen[0] | {"message": True, "version": "2"}]

    def test_a_stream_of_nobody_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        act(monkeypatch, badge=Badge())
        with routed(a_route("m", "a", policies=(BADGE,)), a_route("other", "a")) as it:
            talk = Talk(it.plane)
            talk.say(request_of("other", id="1"))
            assert len(talk.hear(1)) == 1
            talk.say(request_of(id="2"))
            with pytest.raises(grpc.RpcError) as caught:
                talk.rest()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert dict(caught.value.trailing_metadata())["www-authenticate"] == "Bearer"
            it.plane.wait_idle()
            assert streamed(it) == (1, 0)
