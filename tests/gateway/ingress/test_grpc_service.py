"""Rules, splits, versions and keys for unary gRPC, and what initial metadata and trailers tell."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from config.schema import Sticky, Target
from tests.support.data_plane import a_route, a_state
from tests.support.model_server import numbers_of, request_of
from tests.support.routed import Routed, a_rule, halves, routed, told

CANARY = a_rule(Target("b", version="2"), "canary", header="X-Canary", equals="yes")


def infer(it: Routed, *metadata: tuple[str, Any], request: Any = None, listener: int = 0) -> tuple[Any, dict[str, str]]:
    """The reply, and what its initial metadata tell."""
    call = it.plane.stub(listener=listener).ModelInfer.with_call
    reply, done = call(request or request_of(id="i"), metadata=metadata, timeout=20)
    return reply, told(done.initial_metadata())


def test_metadata_choose_pool_and_version() -> None:
    with routed(a_route("m", "a", rules=(CANARY,))) as it:
        assert infer(it)[1] == {"route": "m"}
        reply, tells = infer(it, ("x-canary", "yes"))
        assert tells == {"route": "m", "variant": "canary", "model-version": "2"}
        assert (reply.model_version, reply.id, numbers_of(reply)) == ("2", "i", [1, 2, 3])
        assert it.asked() == (1, 1)


def test_a_name_with_several_values() -> None:
    with routed(a_route("m", "a", rules=(CANARY,))) as it:
        assert infer(it, ("x-canary", "maybe"), ("x-canary", "yes"))[1]["variant"] == "canary"
        assert "variant" not in infer(it, ("x-canary", "maybe"), ("x-canary", "no"))[1]


def test_binary_metadata() -> None:
    rule = a_rule("b", "binary", header="cohort-bin", equals="blå,1")
    with routed(a_route("m", "a", rules=(rule,))) as it:
        assert infer(it, ("cohort-bin", "blå,1".encode()))[1]["variant"] == "binary"
        assert infer(it, ("cohort-bin", b"\x00\xff"), ("cohort-bin", "blå,1".encode()))[1]["variant"] == "binary"
        assert "variant" not in infer(it, ("cohort-bin", b"other"))[1]


def test_another_model_is_asked_with_the_tensors_untouched() -> None:
    rule = a_rule(Target("b", model="other"), "renamed", api="grpc")
    with routed(a_route("m", "a", rules=(rule,))) as it:
        request = request_of(numbers=range(50_000), version="1")
        reply, tells = infer(it, request=request)
        assert (reply.model_name, reply.model_version, tells) == ("other", "1", {"route": "m", "variant": "renamed"})
        (sent,) = it.b.called("ModelInfer")
        assert (sent.model_name, sent.model_version) == ("other", "1")
        assert sent.raw_input_contents == request.raw_input_contents


def test_classification_is_checked_of_the_model_that_is_asked() -> None:
    rule = a_rule(Target("b", model="other", version="2"), api="grpc")
    with routed(a_route("m", "a", rules=(rule,))) as it:
        it.b.models["other"].outputs = (("INPUT0", "BYTES", (-1,)),)
        request = request_of()
        request.outputs.add(name="INPUT0").parameters["classification"].int64_param = 1
        with pytest.raises(grpc.RpcError, match="its datatype is BYTES"):
            infer(it, request=request)
        assert [(each.name, each.version) for each in it.b.called("ModelMetadata")] == [("other", "2")]


def test_sticky_by_metadata_as_by_header() -> None:
    with routed(a_route("m", split=halves(Sticky(header="x-user")))) as it:
        chosen = {number: infer(it, ("x-user", str(number)))[1]["variant"] for number in range(30)}
        assert set(chosen.values()) == {"left", "right"}
        assert all(infer(it, ("x-user", str(number)))[1]["variant"] == each for number, each in chosen.items())


def test_a_sequence_stays() -> None:
    with routed(a_route("m", split=halves())) as it:
        for number in range(1, 20):
            request = request_of()
            request.parameters["sequence_id"].int64_param = number
            assert len({infer(it, request=request)[1]["variant"] for _ in range(4)}) == 1
        assert min(it.asked()) > 0


def test_the_latest_version() -> None:
    with routed(a_route("m", "a", version="latest")) as it:
        reply, tells = infer(it)
        assert (reply.model_version, tells) == ("2", {"route": "m", "model-version": "2"})


def test_an_error_tells_who_failed() -> None:
    with routed(a_route("m", "a", rules=(CANARY,))) as it:
        it.plane.apply(states={"b": (a_state(it.b.address, {}),)})
        with pytest.raises(grpc.RpcError) as caught:
            infer(it, ("x-canary", "yes"))
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.NOT_FOUND
        fields = [*error.initial_metadata(), *error.trailing_metadata()]
        assert told(fields) == {"route": "m", "variant": "canary", "model-version": "2"}
        assert it.plane.counted("penstock_requests_total") == {("m", "inference", "NOT_FOUND", "canary"): 1}


def test_a_listener_that_tells_nothing() -> None:
    with routed(a_route("m", "a", rules=(CANARY,))) as it:
        reply, tells = infer(it, ("x-canary", "yes"), listener=1)
        assert (reply.model_version, tells) == ("2", {})
