"""What carries no tensors passes the policies that guard: the listener's, and those of the model's route."""

from __future__ import annotations

import json

import grpc
import msgspec
import pytest

from config.routes import PolicySpec
from tests.support.acting import BADGE, Acting, Badge, act
from tests.support.data_plane import PlaneThread, a_listener
from tests.support.fronts_guarded import fronts
from tests.support.model_server import pb, request_of
from tests.support.stream_client import Talk

ANN = {"x-badge": "ann"}
NOTE = PolicySpec("note")
Status = grpc.StatusCode


def get(plane: PlaneThread, path: str, listener: int, **headers: str) -> int:
    return plane.request("GET", path, headers={name.replace("_", "-"): each for name, each in headers.items()},
                         listener=listener).status  # fmt: skip


def post(plane: PlaneThread, path: str, listener: int, headers: dict[str, str] | None = None) -> int:
    document = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [1]}]}
    return plane.request("POST", path, json.dumps(document).encode(), headers, listener).status


class TestRoute:
    def test_a_question_about_a_model_passes_what_guards_its_route(self, monkeypatch: pytest.MonkeyPatch) -> None:
        badge, note, guard = Badge(), Acting(), Acting()
        guard.guards = True
        act(monkeypatch, badge=badge, note=note, guard=guard)
        with fronts(BADGE, NOTE, PolicySpec("guard")) as (plane, server):
            for path in ("/v2/models/m", "/v2/models/m/config", "/v2/models/m/stats", "/v2/models/m/ready"):
                refused = plane.get(path)
                assert (refused.status, refused.headers["x-checked"]) == (401, "yes"), path
                assert server.calls == []
                answer = plane.request("GET", path, headers=ANN)
                assert (answer.status, answer.headers["x-checked"]) == (200, "yes"), path
                server.calls.clear()
            assert guard.seen[0] == {
                "message": False, "model": "m", "version": "", "principal": "ann", "infer": False,
                "view": ("rest", "metadata", "m"),
            }  # fmt: skip
            assert badge.seen[0]["view"] == ("rest", "metadata", "m")
            assert note.seen == []

    def test_over_grpc_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        act(monkeypatch, badge=Badge())
        with fronts(BADGE) as (plane, _):
            stub = plane.stub()
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelMetadata(pb.ModelMetadataRequest(name="m"), timeout=10)
            assert caught.value.code() is Status.UNAUTHENTICATED
            assert dict(caught.value.trailing_metadata())["x-checked"] == "yes"
            reply, call = stub.ModelMetadata.with_call(
                pb.ModelMetadataRequest(name="m"), metadata=[("x-badge", "ann")], timeout=10
            )
            assert (reply.name, dict(call.initial_metadata())["x-checked"]) == ("m", "yes")

    def test_what_names_no_model_is_not_the_routes_business(self, monkeypatch: pytest.MonkeyPatch) -> None:
        act(monkeypatch, badge=Badge())
        with fronts(BADGE) as (plane, _):
            assert [get(plane, path, 0) for path in ("/v2", "/v2/models/stats", "/v2/health/ready")] == [200] * 3
            assert get(plane, "/v2/models/secret", 0) == 404


class TestListener:
    def test_all_that_comes_passes_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        act(monkeypatch, badge=Badge())
        paths = ("/v2", "/v2/models/stats", "/v2/models/m", "/v2/models/m/ready")
        with fronts() as (plane, _):
            assert [get(plane, path, 0) for path in paths] == [200] * 4
            assert [get(plane, path, 1) for path in paths] == [401] * 4
            assert [get(plane, path, 1, x_badge="ann") for path in paths] == [200] * 4
            for path in ("/v2/models/m/infer", "/v2/models/m/generate"):
                assert [post(plane, path, 0), post(plane, path, 1)][1] == 401
            assert post(plane, "/v2/models/m/infer", 1, ANN) == 200
            assert post(plane, "/v2/models/m/infer", 0) == 200

    @pytest.mark.parametrize("operation", ["infer", "generate", "generate_stream"])
    def test_a_stranger_is_not_told_which_models_there_are(
        self, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        act(monkeypatch, badge=Badge())
        with fronts() as (plane, _):
            path = f"/v2/models/secret/{operation}"
            assert [post(plane, path, 0), post(plane, path, 1), post(plane, path, 1, ANN)] == [404, 401, 404]

    def test_nor_over_grpc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        act(monkeypatch, badge=Badge())
        with fronts() as (plane, _):

            def code(listener: int, *metadata: tuple[str, str]) -> grpc.StatusCode:
                with pytest.raises(grpc.RpcError) as caught:
                    plane.stub(listener=listener).ModelInfer(request_of("secret"), metadata=metadata, timeout=10)
                return caught.value.code()  # type: ignore[no-any-return]

            assert code(0) is Status.NOT_FOUND
            assert code(1) is Status.UNAUTHENTICATED
            assert code(1, ("x-badge", "ann")) is Status.NOT_FOUND
            talk = Talk(plane, listener=1)
            talk.say(request_of("secret"))
            assert talk.failure()[0] is Status.UNAUTHENTICATED

    def test_health_is_open_unless_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        act(monkeypatch, badge=Badge())
        with fronts() as (plane, _):
            for path in ("/v2/health/live", "/v2/health/ready"):
                assert [get(plane, path, each) for each in (0, 1, 2)] == [200, 200, 401]
                assert get(plane, path, 2, x_badge="ann") == 200

    def test_policies_come_and_go_with_the_configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        act(monkeypatch, badge=Badge())
        with fronts() as (plane, _):
            config = plane.config
            assert get(plane, "/v2/models/m", 0) == 200
            listen = (a_listener("open", policies=(BADGE,)), a_listener("badge"), a_listener("all"))
            plane.apply(config=msgspec.structs.replace(config, listen=listen))
            assert [get(plane, "/v2/models/m", each) for each in (0, 1)] == [401, 200]
