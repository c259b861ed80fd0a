"""Questions and changes, asked of one endpoint, of all merged, or of each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from tritonclient.grpc import InferenceServerClient, InferenceServerException

from config.schema import Config, Endpoint, Pool
from gateway import management as module
from tests.support.data_plane import PlaneThread, a_config, a_listener, a_plane, a_route, a_state, running
from tests.support.deadline import until
from tests.support.model_server import Model, ModelServer, model_server, pb
from tests.support.triton import own_triton
from transcoding.methods import BY_NAME

Status = grpc.StatusCode
READY = {"1": "READY"}


@contextmanager
def two_servers(**options: Any) -> Iterator[tuple[PlaneThread, ModelServer, ModelServer]]:
    with model_server() as one, model_server() as two, a_plane(one.address, two.address, **options) as plane:
        yield plane, one, two


def failure(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return caught.value.code(), caught.value.details()


class TestOwn:
    def test_liveness_and_readiness_are_the_gateways(self) -> None:
        with model_server() as server, a_plane(server.address) as plane:
            stub = plane.stub()
            assert stub.ServerLive(pb.ServerLiveRequest()).live
            assert stub.ServerReady(pb.ServerReadyRequest()).ready
            plane.apply(states={"p": (a_state(server.address, live=False),)})
            assert stub.ServerLive(pb.ServerLiveRequest()).live
            assert not stub.ServerReady(pb.ServerReadyRequest()).ready
            answer = plane.get("/v2/health/ready")
            assert (answer.status, answer.error) == (400, "Server not ready")
            assert plane.get("/v2/health/live").status == 200
            assert server.calls == []


class TestAny:
    def test_an_endpoint_that_has_the_model_answers(self) -> None:
        with two_servers() as (plane, one, two):
            plane.apply(states={"p": (a_state(one.address, {"x": READY}), a_state(two.address, {"m": READY}))})
            for _ in range(4):
                assert plane.stub().ModelMetadata(pb.ModelMetadataRequest(name="m")).name == "m"
            assert (len(one.calls), len(two.calls)) == (0, 4)

    def test_the_server_is_any_of_all_pools(self) -> None:
        with model_server() as server:
            pools = {
                "dead": Pool(endpoints=(Endpoint("127.0.0.1:1"),)),
                "p": Pool(endpoints=(Endpoint(server.address),)),
            }
            config = Config(listen=(a_listener(),), pools=pools, routes=(a_route(),))
            states = {"dead": [a_state("127.0.0.1:1", live=False)], "p": [a_state(server.address)]}
            with running(config, states) as plane:
                assert plane.get("/v2").json["version"] == "2.51.0"
                plane.apply(states={"p": (a_state(server.address, live=False),)})
                answer = plane.get("/v2")
                assert (answer.status, answer.error) == (503, "no endpoint of pool 'p' is live")

    def test_errors_are_the_workers(self) -> None:
        with two_servers() as (plane, one, two):
            for server in (one, two):
                server.faults["ModelConfig"] = (Status.INVALID_ARGUMENT, "not today")
            request = pb.ModelConfigRequest(name="m")
            assert failure(plane.stub().ModelConfig, request) == (Status.INVALID_ARGUMENT, "not today")

    def test_a_version_of_the_route_reaches_every_question_that_may_have_one(self) -> None:
        assert {method.version_field for method in BY_NAME.values()} == {0, 2}
        with model_server() as server, a_plane(server.address, routes=[a_route(version="2")]) as plane:
            stub = plane.stub()
            stub.ModelReady(pb.ModelReadyRequest(name="m"))
            stub.ModelConfig(pb.ModelConfigRequest(name="m"))
            stub.ModelConfig(pb.ModelConfigRequest(name="m", version="1"))
            stub.ModelStatistics(pb.ModelStatisticsRequest(name="m"))
            assert [request.version for _, request, _ in server.calls] == ["2", "2", "1", ""]

    def test_a_worker_that_is_silent_is_waited_for_only_so_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "QUESTION_TIMEOUT", 0.2)
        gate = threading.Event()
        with model_server() as server, a_plane(server.address) as plane:
            monkeypatch.setattr(server, "_model", lambda name, context: gate.wait(10) and Model())
            assert failure(plane.stub().ModelConfig, pb.ModelConfigRequest(name="m"))[0] is Status.DEADLINE_EXCEEDED
            gate.set()


class TestModelReady:
    @pytest.mark.parametrize("name", ["nope", "loading", "gone"])
    def test_not_ready_is_an_answer(self, name: str) -> None:
        models = {"m": READY, "loading": {"1": "LOADING"}, "gone": {"1": "UNAVAILABLE"}}
        with model_server() as server, a_plane(server.address, models=models) as plane:
            assert plane.stub().ModelReady(pb.ModelReadyRequest(name="m")).ready
            assert not plane.stub().ModelReady(pb.ModelReadyRequest(name=name)).ready
            assert plane.get(f"/v2/models/{name}/ready").error == "Model version not ready"

    @pytest.mark.parametrize("code", [Status.NOT_FOUND, Status.UNAVAILABLE])
    def test_the_errors_of_newer_tritons_are_answers_too(self, code: grpc.StatusCode) -> None:
        with model_server() as server, a_plane(server.address) as plane:
            server.faults["ModelReady"] = (code, "model is not ready")
            assert not plane.stub().ModelReady(pb.ModelReadyRequest(name="m")).ready

    def test_other_errors_are_errors(self) -> None:
        with model_server() as server, a_plane(server.address) as plane:
            server.faults["ModelReady"] = (Status.INVALID_ARGUMENT, "version should be an integral value")
            assert failure(plane.stub().ModelReady, pb.ModelReadyRequest(name="m"))[0] is Status.INVALID_ARGUMENT


class TestMerge:
    def test_statistics_are_summed(self) -> None:
        with two_servers() as (plane, _, two):
            two.models["other"] = Model()
            stats = plane.stub().ModelStatistics(pb.ModelStatisticsRequest()).model_stats
            assert {each.name: each.inference_count for each in stats} == {"m": 6, "other": 3}
            assert plane.get("/v2/models/m/stats").json["model_stats"][0]["inference_count"] == 6

    def test_only_those_that_have_the_model_are_asked(self) -> None:
        with two_servers() as (plane, one, two):
            plane.apply(states={"p": (a_state(one.address, {"m": READY}), a_state(two.address, {"x": READY}))})
            (stats,) = plane.stub().ModelStatistics(pb.ModelStatisticsRequest(name="m")).model_stats
            assert (stats.inference_count, two.calls) == (3, [])
            code, text = failure(plane.stub().ModelStatistics, pb.ModelStatisticsRequest(name="nope"))
            assert (code, "'nope'" in text) == (Status.NOT_FOUND, True)

    def test_one_that_fails_is_left_out(self) -> None:
        with two_servers() as (plane, one, two):
            one.faults["RepositoryIndex"] = (Status.INTERNAL, "no disk")
            two.models["other"] = Model()
            models = plane.stub().RepositoryIndex(pb.RepositoryIndexRequest()).models
            assert [each.name for each in models] == ["m", "other"]
            two.faults["RepositoryIndex"] = (Status.INTERNAL, "no disk either")
            assert failure(plane.stub().RepositoryIndex, pb.RepositoryIndexRequest()) == (Status.INTERNAL, "no disk")

    def test_none_is_live(self) -> None:
        with model_server() as server, a_plane(server.address) as plane:
            plane.apply(states={"p": (a_state(server.address, live=False),)})
            code, text = failure(plane.stub().RepositoryIndex, pb.RepositoryIndexRequest())
            assert (code, text) == (Status.UNAVAILABLE, "no endpoint is live")

    def test_a_triton_in_two_pools_is_asked_once(self) -> None:
        with model_server() as server, running(*in_two_pools(server)) as plane:
            (stats,) = plane.stub().ModelStatistics(pb.ModelStatisticsRequest()).model_stats
            assert stats.inference_count == 3
            plane.stub().LogSettings(log_request())
            assert len(server.called("LogSettings")) == 1


class Slow(dict[str, Model]):
    """Models that take their time to be loaded."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self._gate = gate

    def setdefault(self, name: str, model: Model) -> Model:  # type: ignore[override]
        self._gate.wait(10)
        return super().setdefault(name, model)


def in_two_pools(server: ModelServer) -> tuple[Config, dict[str, Any]]:
    pools = {name: Pool(endpoints=(Endpoint(server.address),)) for name in ("p", "q")}
    config = Config(listen=(a_listener(),), pools=pools, routes=(a_route(),))
    return config, {name: [a_state(server.address)] for name in pools}


def log_request() -> Any:
    request = pb.LogSettingsRequest()
    request.settings["log_info"].bool_param = True
    return request


class TestBroadcast:
    def test_a_load_reaches_all_and_the_inventory_is_read_before_the_answer(self) -> None:
        with two_servers() as (plane, one, two):
            seen: list[tuple[str, bool]] = []

            async def refresh(pool: str) -> None:
                await asyncio.sleep(0.05)
                seen.append((pool, "new" in one.models and "new" in two.models))

            plane.on_refresh = refresh
            plane.stub().RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="new"))
            assert seen == [("p", True)]
            assert plane.post("/v2/repository/models/new/unload").status == 200
            assert seen == [("p", True), ("p", False)]
            assert "new" not in one.models.keys() | two.models.keys()

    def test_every_pool_with_the_endpoint_is_read_anew(self) -> None:
        with model_server() as server, running(*in_two_pools(server)) as plane:
            plane.stub().RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="new"))
            assert sorted(plane.refreshes) == ["p", "q"]
            assert sorted(plane.loaded) == ["p new", "q new"], "an index would not show that it was loaded again"

    def test_what_one_refuses_is_refused_and_read_anew(self) -> None:
        with two_servers() as (plane, one, two):
            one.faults["RepositoryModelLoad"] = (Status.INTERNAL, "failed to load 'new', failed to poll")
            code, text = failure(plane.stub().RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="new"))
            assert (code, text) == (Status.INTERNAL, "failed to load 'new', failed to poll")
            assert (plane.refreshes, "new" in two.models) == (["p"], True)

    def test_signatures_are_asked_anew(self) -> None:
        with model_server() as server, a_plane(server.address) as plane:
            document = {"INPUT0": 1}
            for _ in range(2):
                assert plane.post("/v2/models/m/generate", document).json["INPUT0"] == 1
            assert len(server.called("ModelConfig")) == 1
            plane.post("/v2/repository/models/m/load")
            plane.post("/v2/models/m/generate", document)
            assert len(server.called("ModelConfig")) == 2

    def test_a_name_that_ends_a_worker_is_refused(self) -> None:
        with model_server() as server, a_plane(server.address) as plane:
            request = pb.RepositoryModelLoadRequest(model_name="new")
            request.parameters["file:" + "x" * 256].bytes_param = b"x"
            code, text = failure(plane.stub().RepositoryModelLoad, request)
            assert (code, "failed to poll from model repository" in text) == (Status.INTERNAL, True)
            assert server.calls == []

    def test_settings_are_read_from_one_and_written_to_all(self) -> None:
        with two_servers() as (plane, one, two):
            plane.stub().LogSettings(pb.LogSettingsRequest())
            assert len(one.calls) + len(two.calls) == 1
            plane.stub().LogSettings(log_request())
            assert len(one.calls) + len(two.calls) == 3
            assert plane.refreshes == []

    def test_a_model_without_a_route_cannot_be_loaded(self) -> None:
        with model_server() as server, a_plane(server.address, routes=[a_route("m")]) as plane:
            request = pb.RepositoryModelLoadRequest(model_name="other")
            assert failure(plane.stub().RepositoryModelLoad, request)[0] is Status.NOT_FOUND
            assert server.calls == []

    def test_nobody_is_there_to_load(self) -> None:
        with model_server() as server, a_plane(server.address) as plane:
            plane.apply(states={"p": (a_state(server.address, live=False),)})
            request = pb.RepositoryModelLoadRequest(model_name="m")
            assert failure(plane.stub().RepositoryModelLoad, request) == (Status.UNAVAILABLE, "no endpoint is live")
            assert plane.refreshes == []

    def test_a_client_that_leaves_does_not_leave_the_inventory_stale(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with model_server() as server, a_plane(server.address) as plane:
            gate = threading.Event()
            monkeypatch.setattr(server, "models", Slow(gate))
            loading = plane.stub().RepositoryModelLoad.future(pb.RepositoryModelLoadRequest(model_name="m"))
            until(lambda: server.called("RepositoryModelLoad"), 5)
            loading.cancel()
            until(lambda: plane.refreshes == ["p"], 5)
            gate.set()
            plane.wait_idle()


@pytest.mark.triton
def test_a_real_triton_loads_and_unloads() -> None:
    """With a stand-in for control: it reads the index when it is asked to."""
    with (
        own_triton(["simple", "badload"], explicit=True) as triton,
        running(a_config(triton.grpc_address), {"p": [a_state(triton.grpc_address, {})]}) as plane,
    ):

        async def refresh(pool: str) -> None:
            models = await asyncio.to_thread(read_index, triton.grpc_address)
            await plane.publish(states={pool: (a_state(triton.grpc_address, models),)})

        plane.on_refresh = refresh
        client = InferenceServerClient(plane.address)
        client.load_model("simple")
        assert client.is_model_ready("simple")
        assert client.get_model_config("simple").config.name == "simple"
        client.unload_model("simple")
        assert not client.is_model_ready("simple")
        with pytest.raises(InferenceServerException, match="failed to load 'nope'"):
            client.load_model("nope")
        with pytest.raises(InferenceServerException, match="load failed for model 'badload'"):
            client.load_model("badload")
        client.close()


def read_index(address: str) -> dict[str, dict[str, str]]:
    client = InferenceServerClient(address)
    models: dict[str, dict[str, str]] = {}
    for model in client.get_model_repository_index().models:
        models.setdefault(model.name, {})
        if model.version:
            models[model.name][model.version] = model.state
    client.close()
    return models
