"""Questions about models whose routes have several targets."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from config.schema import Target, Variant
from tests.support.data_plane import Models, a_route, a_state
from tests.support.model_server import pb
from tests.support.routed import READY, Routed, a_rule, a_split, halves, routed

SPLIT = a_route("m", split=halves())


def has(it: Routed, a: Models, b: Models) -> None:
    it.plane.apply(states={"a": (a_state(it.a.address, a),), "b": (a_state(it.b.address, b),)})


def metadata(it: Routed, model: str = "m", version: str = "") -> Any:
    return it.plane.stub().ModelMetadata(pb.ModelMetadataRequest(name=model, version=version), timeout=20)


def ready(it: Routed, model: str = "m", version: str = "") -> bool:
    return bool(it.plane.stub().ModelReady(pb.ModelReadyRequest(name=model, version=version), timeout=20).ready)


class TestMetadata:
    def test_of_the_first_target_that_has_the_model(self) -> None:
        with routed(SPLIT) as it:
            metadata(it)
            assert it.asked("ModelMetadata") == (1, 0)
            has(it, {}, {"m": READY})
            metadata(it)
            assert it.asked("ModelMetadata") == (1, 1)

    def test_targets_without_a_share_or_of_rules_come_last(self) -> None:
        split = a_split(off=Variant("a", weight=0), on=Variant("b"))
        with routed(a_route("m", split=split, rules=(a_rule("a", api="grpc"),))) as it:
            metadata(it)
            assert it.asked("ModelMetadata") == (0, 1)
            has(it, {"m": READY}, {})
            metadata(it)
            assert it.asked("ModelMetadata") == (1, 1)

    def test_of_the_model_and_version_that_is_asked(self) -> None:
        with routed(a_route("m", to=Target("b", model="other", version="latest"))) as it:
            reply = metadata(it)
            assert (reply.name, list(reply.versions)) == ("other", ["2"])
            assert list(metadata(it, version="1").versions) == ["1"]

    def test_when_none_has_it_the_first_says_why(self) -> None:
        with routed(SPLIT) as it:
            has(it, {"m": {"1": "LOADING"}}, {})
            with pytest.raises(grpc.RpcError, match="model 'm' is loading"):
                metadata(it)

    def test_a_mistake_of_the_client_is_not_asked_again(self) -> None:
        with routed(SPLIT) as it:
            it.a.faults["ModelMetadata"] = grpc.StatusCode.INVALID_ARGUMENT, "not like that"
            with pytest.raises(grpc.RpcError, match="not like that"):
                metadata(it)
            assert it.asked("ModelMetadata") == (1, 0)

    def test_a_label_that_one_target_lacks(self) -> None:
        split = a_split(labelled=Variant("a", version="stable"), plain=Variant("b"))
        with routed(a_route("m", split=split), labels={"x": {"stable": "1"}}) as it:
            metadata(it)
            assert it.asked("ModelMetadata") == (0, 1)


class TestReady:
    def test_any_target_that_takes_requests(self) -> None:
        with routed(SPLIT) as it:
            for a, b, expected in (({}, {"m": READY}, True), ({"m": READY}, {}, True), ({}, {}, False)):
                has(it, a, b)
                assert ready(it) is expected
                assert it.plane.get("/v2/models/m/ready").status == (200 if expected else 400)

    def test_targets_without_requests_do_not_count(self) -> None:
        split = a_split(off=Variant("a", weight=0), on=Variant("b"))
        with routed(a_route("m", split=split, rules=(a_rule("a", api="grpc"),))) as it:
            has(it, {"m": READY}, {})
            assert not ready(it)

    def test_who_says_not_ready_is_no_answer_for_the_others(self) -> None:
        with routed(SPLIT) as it:
            del it.a.models["m"]  # before the inventory tells
            assert ready(it)
            assert it.asked("ModelReady") == (1, 1)

    def test_the_version_of_the_target(self) -> None:
        with routed(a_route("m", "a", version="7")) as it:
            assert not ready(it)
            assert ready(it, version="1")

    def test_of_another_name(self) -> None:
        with routed(a_route("m", to=Target("b", model="other"))) as it:
            has(it, {}, {"other": READY})
            assert ready(it)

    def test_a_model_without_a_route(self) -> None:
        with routed(SPLIT) as it:
            assert not ready(it, "nothing")

    def test_the_server_is_ready_when_each_route_has_somewhere_to_go(self) -> None:
        with routed(a_route("m", split=halves(), rules=(a_rule("b", api="grpc"),))) as it:
            stub = it.plane.stub()
            for a, b, expected in ((True, False, True), (False, True, True), (False, False, False)):
                it.plane.apply(states={"a": (a_state(it.a.address, live=a),), "b": (a_state(it.b.address, live=b),)})
                assert stub.ServerReady(pb.ServerReadyRequest()).ready is expected


class TestStatistics:
    def counts(self, it: Routed) -> dict[str, int]:
        reply = it.plane.stub().ModelStatistics(pb.ModelStatisticsRequest(name="m"), timeout=20)
        return {each.name: each.inference_count for each in reply.model_stats}

    def test_summed_over_all_targets(self) -> None:
        with routed(SPLIT) as it:
            assert self.counts(it) == {"m": 6}
            has(it, {}, {"m": READY})
            assert self.counts(it) == {"m": 3}

    def test_by_the_names_that_the_targets_have(self) -> None:
        split = a_split(old=Variant("a"), new=Variant("a", model="other"), far=Variant("b"))
        with routed(a_route("m", split=split)) as it:
            assert self.counts(it) == {"m": 6, "other": 3}

    def test_two_variants_of_one_model_are_asked_once(self) -> None:
        split = a_split(old=Variant("a", version="1"), new=Variant("a", version="2"))
        with routed(a_route("m", split=split)) as it:
            assert self.counts(it) == {"m": 3}

    def test_nobody_has_it(self) -> None:
        with routed(SPLIT) as it:
            has(it, {}, {})
            with pytest.raises(grpc.RpcError, match="unknown model: 'm'"):
                self.counts(it)


class TestRepository:
    def test_a_load_reaches_all_targets_by_its_own_name(self) -> None:
        split = a_split(old=Variant("a"), new=Variant("b", model="other"))
        with routed(a_route("m", split=split)) as it:
            stub = it.plane.stub()
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="m"), timeout=20)
            for server in (it.a, it.b):
                assert [each.model_name for each in server.called("RepositoryModelLoad")] == ["m"]
            assert sorted(it.plane.refreshes) == ["a", "b"]
