"""A mixed inventory at real Tritons: requests go only where their model is, and who cannot be served is told why."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from deploy.triton import Triton
from tests.support.counters import assert_nothing_held, value, wait_for_reports
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.hammer import BODY, Hammer
from tests.support.messages import infer_request, stub
from tests.support.model_repository import MODELS, write_model
from tests.support.rest import rest
from tests.support.sluggish import write_sluggish
from tests.support.triton import own_tritons

pytestmark = [pytest.mark.triton, pytest.mark.slow]

ROW = np.arange(16, dtype=np.int32)[None]
LOAD_SECONDS = 1.5
RACES = 600
"""Requests that may be on their way, or sent, before an unload is known: those of four clients in some 0.1 s, or in 1 s
on a busy machine."""
ALWAYS = ("simple", "fails", "slow", "slowq")


@pytest.fixture(scope="module")
def tritons() -> Iterator[list[Triton]]:
    """The first two have `ALWAYS`; the third has other models, some of which it has not loaded yet."""
    with own_tritons(ALWAYS, ALWAYS, ["two_versions"]) as (first, second, third):
        for name in ("simple", "badload"):
            write_model(third.repository, name, MODELS[name])
        for name in ("idle", "untouched"):
            write_model(third.repository, name, MODELS["simple"])
        write_sluggish(third.repository, "sluggish", LOAD_SECONDS)
        for number in range(4):
            write_model(third.repository, f"copy{number}", MODELS["simple"])
        yield [first, second, third]


def a_pool(*tritons: Triton, **more: Any) -> dict[str, Any]:
    endpoints = [{"address": each.grpc_address, "metrics": each.metrics_address} for each in tritons]
    return {"endpoints": endpoints, "readiness": {"interval": 0.2}, **more}


def a_gateway(pool: dict[str, Any]) -> Gateway:
    """Two workers over this pool."""
    return Gateway([], workers=2, settings={"pools": {"tritons": pool}})


@contextmanager
def repository_of(triton: Triton) -> Iterator[Any]:
    """Somebody who loads and unloads models there without asking the gateway."""
    client = tritonclient.grpc.InferenceServerClient(triton.grpc_address)
    try:
        yield client
    finally:
        client.close()


def failed_at(triton: Triton) -> int:
    """Requests that this Triton counts as failed, for whatever reason."""
    statistics = json.loads(rest(triton.http_address, "GET", "/v2/models/stats").body)
    failed: int = sum(model["inference_stats"]["fail"]["count"] for model in statistics["model_stats"])
    return failed


def not_taken(gateway: Gateway) -> float:
    """Requests that an endpoint refused because it did not have the model."""
    wait_for_reports(gateway)
    return value(gateway, "penstock_upstream_requests_total", outcome="worker")


def state(gateway: Gateway, triton: Triton, model: str) -> str:
    """What the gateway knows of version 1 of a model there, "" for nothing."""
    pools = json.loads(gateway.admin("/v1/fleet")[1])["pools"].values()
    (one,) = [each for pool in pools for each in pool["endpoints"] if each["address"] == triton.grpc_address]
    return str(one["models"].get(model, {}).get("1", {}).get("state", ""))


def served_by(gateway: Gateway, triton: Triton) -> float:
    return value(gateway, "penstock_upstream_requests_total", endpoint=triton.grpc_address, outcome="ok")


def some_more(load: Hammer, count: int = 100) -> None:
    goal = load.outcomes["ok"] + count
    until(lambda: load.outcomes["ok"] >= goal)


def test_models_that_come_and_go_under_load(tritons: list[Triton]) -> None:
    first, _, third = tritons
    failed = sum(map(failed_at, tritons))

    def sluggish(gateway: Gateway, ended: threading.Event) -> list[tuple[float, str]]:
        """What somebody hears who asks all the time for what is being loaded."""
        heard = []
        while not ended.is_set():
            heard.append((time.monotonic(), ask_rest(gateway, "sluggish", BODY.encode())[1]))
            time.sleep(0.01)
        return heard

    with (
        a_gateway(a_pool(*tritons)) as gateway,
        repository_of(first) as at_first,
        repository_of(third) as at_third,
        ThreadPoolExecutor() as threads,
        Hammer(gateway.address, lambda: "simple", threads=4) as load,
    ):
        some_more(load)
        ended = threading.Event()
        heard = threads.submit(sluggish, gateway, ended)
        at_third.load_model("sluggish")
        loaded_at = time.monotonic()
        until(lambda: state(gateway, third, "sluggish") == "READY")
        time.sleep(0.3)
        ended.set()
        words = [text for _, text in heard.result()]
        assert words[-1] == "", "it is served once it is loaded"
        assert {text for text in words if text} <= {
            "Request for unknown model: 'sluggish' has no available versions",
            "model 'sluggish' is loading",
        }
        assert sum("is loading" in text for text in words) > 10
        assert min(at for at, text in heard.result() if not text) > loaded_at - 0.5, "it was asked before it was ready"

        with pytest.raises(InferenceServerException, match="badload"):
            at_third.load_model("badload")
        before = served_by(gateway, third)
        at_third.load_model("simple")
        until(lambda: served_by(gateway, third) > before + 20)
        assert not_taken(gateway) == 0, "a request was at an endpoint without its model"

        at_first.unload_model("simple")  # behind the gateway's back: some requests are on their way
        some_more(load)
        until(lambda: state(gateway, first, "simple") != "READY")
        races = not_taken(gateway)
        some_more(load, 300)
        assert not_taken(gateway) == races <= RACES, "what is known to be gone was asked again"
        before = served_by(gateway, first)
        at_first.load_model("simple")
        until(lambda: served_by(gateway, first) > before + 20)
    assert load.failures == {}
    assert sum(map(failed_at, tritons)) == failed
    print(f"\nmodels come and go: {load.outcomes['ok']} requests, {races:.0f} sent elsewhere after a race")


def test_what_an_answer_gives_away_is_known_before_the_next_poll(tritons: list[Triton]) -> None:
    first, second, _ = tritons
    endpoints = [first.grpc_address, second.grpc_address]
    pool = {"endpoints": endpoints, "pick": "round_robin", "readiness": {"interval": "1h"}}
    with a_gateway(pool) as gateway, repository_of(first) as at_first:
        with Hammer(gateway.address, lambda: "simple", threads=4) as load:
            some_more(load)
            at_first.unload_model("simple")
            until(lambda: state(gateway, first, "simple") != "READY", 5)
            some_more(load)
            refused = not_taken(gateway)
            assert 1 <= refused <= RACES
            some_more(load, 300)
            assert not_taken(gateway) == refused
        at_first.load_model("simple")
    assert load.failures == {}


def test_what_makes_room_on_demand_is_asked_for_nothing_more(tritons: list[Triton]) -> None:
    third = tritons[2]
    failed = failed_at(third)
    chance = random.Random(5)

    def choose() -> str:
        return f"copy{chance.choices(range(4), (600, 400, 1, 1))[0]}"

    models = {"mode": "on_demand", "max_loaded": 3, "failure_backoff": "1s"}
    with a_gateway(a_pool(third, models=models)) as gateway:
        with Hammer(gateway.address, choose, threads=8) as load:
            until(lambda: value(gateway, "penstock_model_unloads_total") >= 4 and load.outcomes["ok"] > 500)
        assert load.failures == {}
        assert not_taken(gateway) == 0
        assert value(gateway, "penstock_retries_total") == 0
        loads = value(gateway, "penstock_model_loads_total", result="ok")
        assert_nothing_held(gateway)
    assert failed_at(third) == failed
    print(f"\non demand: {load.outcomes['ok']} requests, {loads:.0f} loads, nothing failed")


# why not --------------------------------------------------------------------------------------------------------------


CODES = {200: "OK", 404: "NOT_FOUND", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


def ask_rest(gateway: Gateway, model: str, body: bytes, version: str = "") -> tuple[str, str]:
    """How it ended by the name of the gRPC code, and the error's text."""
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
    answer = rest(gateway.address, "POST", path, body)
    return CODES[answer.status], answer.json.get("error", "")


def ask_grpc(gateway: Gateway, request: Any) -> tuple[str, str]:
    with grpc.insecure_channel(gateway.address) as channel:
        try:
            stub(channel).ModelInfer(request, timeout=20)
        except grpc.RpcError as error:
            return error.code().name, error.details()  # type: ignore[attr-defined]
    return "OK", ""


def why(gateway: Gateway, model: str, version: str = "", **inputs: np.ndarray[Any, Any]) -> tuple[str, str]:
    """The answer, which is the same over REST and over gRPC."""
    request = infer_request(model, **(inputs or {"INPUT0": ROW, "INPUT1": ROW}))
    request.model_version = version
    tensors = [
        {"name": each.name, "datatype": each.datatype, "shape": list(each.shape), "data": array.flatten().tolist()}
        for each, array in zip(request.inputs, (inputs or {"INPUT0": ROW, "INPUT1": ROW}).values(), strict=True)
    ]
    over_rest = ask_rest(gateway, model, json.dumps({"inputs": tensors}).encode(), version)
    over_grpc = ask_grpc(gateway, request)
    if over_grpc[0] == "DEADLINE_EXCEEDED":  # whose clock is first tells: Triton's words have capitals
        return over_grpc[0], {over_grpc[1].lower(), over_rest[1].lower()}.pop()
    assert over_grpc == over_rest
    return over_rest


@pytest.fixture(scope="module")
def asked(tritons: list[Triton]) -> Iterator[Gateway]:
    """Calls to `slow` have 0.3 s; requests for the model `nowhere` go to a pool where nobody is."""
    outliers = {"consecutive": 2, "base": "60s", "max_ejected": 1.0, "panic": 0.0}
    nobody = {"endpoints": ["127.0.0.1:1"], "readiness": {"interval": 0.2}, "connect_timeout": "0.2s"}
    rule = {"when": {"model": "nowhere"}, "to": {"pool": "nobody"}}
    with Gateway(
        [],
        workers=2,
        settings={
            "pools": {"tritons": a_pool(*tritons, outliers=outliers), "nobody": nobody},
            "routes": [
                {"match": {"model": "slow"}, "to": {"pool": "tritons"}, "timeout": "300ms"},
                {"match": {"model": "*"}, "to": {"pool": "tritons"}, "rules": [rule]},
            ],
        },
    ) as gateway:
        yield gateway


def test_unknown_models_and_versions(asked: Gateway) -> None:
    assert why(asked, "nothing") == ("NOT_FOUND", "Request for unknown model: 'nothing' is not found")
    assert why(asked, "simple", "9") == ("NOT_FOUND", "Request for unknown model: 'simple' version 9 is not found")


def test_known_but_not_loaded(asked: Gateway, tritons: list[Triton]) -> None:
    none = ("NOT_FOUND", "Request for unknown model: '{}' has no available versions")
    with repository_of(tritons[2]) as repository:
        repository.load_model("idle")
        until(lambda: state(asked, tritons[2], "idle") == "READY")
        repository.unload_model("idle")
    until(lambda: state(asked, tritons[2], "idle") == "UNAVAILABLE")
    for model in ("idle", "untouched"):
        assert why(asked, model) == (none[0], none[1].format(model))
    text = "Request for unknown model: 'idle' version 1 is not at ready state"
    assert why(asked, "idle", "1") == ("UNAVAILABLE", text)


def test_one_that_loads_and_one_that_cannot(asked: Gateway, tritons: list[Triton]) -> None:
    third = tritons[2]
    write_sluggish(third.repository, "lingering", LOAD_SECONDS)
    with repository_of(third) as repository, ThreadPoolExecutor() as threads:
        loading = threads.submit(repository.load_model, "lingering")
        until(lambda: state(asked, third, "lingering") == "LOADING")
        assert why(asked, "lingering") == ("UNAVAILABLE", "model 'lingering' is loading")
        loading.result()
        until(lambda: why(asked, "lingering") == ("OK", ""))
        with pytest.raises(InferenceServerException):
            repository.load_model("badload")
    until(lambda: state(asked, third, "badload") == "UNAVAILABLE")
    for version in ("", "1"):
        code, text = why(asked, "badload", version, INPUT0=np.ones(1, np.int32))
        assert (code, text.startswith("model 'badload' does not load: ")) == ("UNAVAILABLE", True)
        assert "No module named 'a_module_that_does_not_exist'" in text


def test_no_endpoint_is_live(asked: Gateway) -> None:
    until(lambda: why(asked, "nowhere") == ("UNAVAILABLE", "no endpoint of pool 'nobody' is live"))


def test_all_queues_are_full(asked: Gateway, tritons: list[Triton]) -> None:
    ended = threading.Event()
    long = infer_request("slowq", INPUT0=np.full((1, 1), 0.3, np.float32))
    body = b'{"inputs": [{"name": "INPUT0", "shape": [1, 1], "datatype": "FP32", "data": [0]}]}'

    def fill(triton: Triton) -> None:
        with grpc.insecure_channel(triton.grpc_address) as channel:
            while not ended.is_set():
                with suppress(grpc.RpcError):
                    stub(channel).ModelInfer(long, timeout=20)

    def full(answer: tuple[str, str]) -> bool:
        return answer[0] == "UNAVAILABLE" and answer[1].endswith("Exceeds maximum queue size")

    with ThreadPoolExecutor() as threads:
        for triton in [*tritons[:2]] * 6:
            threads.submit(fill, triton)
        until(lambda: full(ask_rest(asked, "slowq", body)))
        until(lambda: full(ask_grpc(asked, infer_request("slowq", INPUT0=np.zeros((1, 1), np.float32)))))
        until(lambda: rest(asked.address, "POST", "/v2/models/slowq/infer", body).headers.get("retry-after") == "1")
        ended.set()
    assert value(asked, "penstock_ejected") == 0, "a full queue is no failure"


def test_the_deadline_comes_first(asked: Gateway) -> None:
    assert why(asked, "slow", INPUT0=np.array([2.0], np.float32)) == ("DEADLINE_EXCEEDED", "deadline exceeded")


def test_all_are_broken(asked: Gateway) -> None:
    """The last one: it leaves the model ejected."""
    fails = np.array([2], np.int32)
    text = "no endpoint of pool 'tritons' is fit for model 'fails': calls to all of them failed"
    seen = until(lambda: (answer := why_unlike(asked, fails)) and answer == ("UNAVAILABLE", text) and answer)
    assert seen == ("UNAVAILABLE", text)
    assert why(asked, "simple") == ("OK", ""), "another model is harmed"


def why_unlike(gateway: Gateway, number: np.ndarray[Any, Any]) -> tuple[str, str]:
    """The answer over gRPC alone, while workers differ in what they have seen."""
    return ask_grpc(gateway, infer_request("fails", INPUT0=number))
