"""nginx and Envoy between clients and a real gateway: they are the gateway's HTTP clients here."""

from __future__ import annotations

import gzip
import json
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.counters import value, wait_for_reports
from tests.support.deadline import until
from tests.support.fronts import front
from tests.support.interop_world import (
    BRIEF,
    INFER,
    LIVE,
    World,
    identity_document,
    is_simple,
    is_simple_document,
    repeat_message,
    repeated,
    simple_document,
    simple_message,
)
from tests.support.messages import infer_request, stub
from tests.support.rest import rest

pytestmark = pytest.mark.triton

TIMEOUT = 20
FOR_REST = ("nginx_plain", "envoy_http2", "envoy_narrow")
FOR_GRPC = ("nginx_grpc", "envoy_http2", "envoy_narrow")


class Fronts:
    """Proxies before the gateway, started when they are first asked for."""

    def __init__(self, world: World, directory: Any) -> None:
        self._world = world
        self._directory = directory
        self._running: dict[tuple[str, str], tuple[Any, str]] = {}

    def address(self, name: str, listener: str = "") -> str:
        """Where the proxy listens that stands before a listener of the gateway, the first if not said."""
        key = (name, listener or self._world.address)
        if key not in self._running:
            manager = front(*key, self._directory.mktemp(name))
            self._running[key] = manager, manager.__enter__()
        return self._running[key][1]

    def stop(self) -> None:
        for manager, _ in self._running.values():
            manager.__exit__(None, None, None)


@pytest.fixture(scope="module")
def fronts(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronts]:
    fronts = Fronts(world, tmp_path_factory)
    yield fronts
    fronts.stop()


@pytest.fixture(params=FOR_REST)
def address(request: pytest.FixtureRequest, fronts: Fronts) -> str:
    return fronts.address(request.param)


@pytest.fixture(params=FOR_GRPC)
def service(request: pytest.FixtureRequest, fronts: Fronts) -> Iterator[Any]:
    with connect(fronts.address(request.param)) as channel:
        yield stub(channel)


def connect(address: str) -> grpc.Channel:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(address, options=options)


def accepted(world: World, protocol: str) -> float:
    """Connections that the gateway has taken so far."""
    wait_for_reports(world.gateway)
    return value(world.gateway, "penstock_connections_accepted_total", listener=world.address, protocol=protocol)


def sent_away(world: World) -> float:
    """Connections of the brief listener that the gateway has reported so far."""
    return value(world.gateway, "penstock_connections_accepted_total", listener=world.brief)


class TestRest:
    def test_infer(self, address: str) -> None:
        answer = rest(address, "POST", INFER, simple_document())
        assert answer.status == 200
        assert is_simple_document(answer.json)
        assert not any("grpc" in name or name == "trailer" for name in answer.headers)

    def test_no_body(self, address: str) -> None:
        for method in ("GET", "HEAD"):
            answer = rest(address, method, LIVE)
            assert (answer.status, answer.body) == (200, b"")

    def test_more_than_any_window_both_ways(self, address: str) -> None:
        answer = rest(address, "POST", "/v2/models/id_fp32/infer", identity_document(200_000))
        assert answer.json["outputs"][0]["data"] == list(range(200_000))

    def test_compression_both_ways(self, address: str) -> None:
        fields = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
        answer = rest(address, "POST", INFER, gzip.compress(simple_document()), fields)
        assert answer.headers["content-encoding"] == "gzip"
        assert is_simple_document(answer.json)

    def test_errors(self, address: str) -> None:
        for path, body, status in (("/v2/models/nope/infer", simple_document(), 404), (INFER, b"{", 400)):
            answer = rest(address, "POST", path, body)
            assert (answer.status, list(answer.json)) == (status, ["error"])

    def test_an_event_stream(self, address: str) -> None:
        body = json.dumps({"IN": [1, 2, 3], "DELAY": [0, 50, 50], "WAIT": 0}).encode()
        answer = rest(address, "POST", "/v2/models/repeat_int32/generate_stream", body)
        assert [event["OUT"] for event in answer.events] == [1, 2, 3]

    def test_many_at_once(self, address: str) -> None:
        def ask(_: int) -> bool:
            return is_simple_document(rest(address, "POST", INFER, simple_document()).json)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(200)))


class TestGrpc:
    def test_unary(self, service: Any) -> None:
        assert is_simple(service.ModelInfer(simple_message(), timeout=TIMEOUT))

    def test_four_mebibytes_both_ways(self, service: Any) -> None:
        data = np.arange(2**20, dtype=np.float32)
        reply = service.ModelInfer(infer_request("id_fp32", INPUT0=data), timeout=TIMEOUT)
        assert (np.frombuffer(reply.raw_output_contents[0], np.float32) == data).all()

    def test_errors(self, service: Any) -> None:
        """One block that is head and trailers at once."""
        with pytest.raises(grpc.RpcError) as caught:
            service.ModelInfer(infer_request("nope", INPUT0=np.zeros(1, np.float32)), timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "Request for unknown model: 'nope'" in caught.value.details()

    def test_a_stream_in_lockstep(self, service: Any) -> None:
        """Each request waits for the response to the one before: nothing holds either back."""
        requests: queue.Queue[Any] = queue.Queue()
        replies = service.ModelStreamInfer(iter(requests.get, None), timeout=TIMEOUT)
        for number in range(5):
            requests.put(repeat_message([number, number + 1]))
            assert [repeated(next(replies)), repeated(next(replies))] == [number, number + 1]
        requests.put(None)
        assert list(replies) == []
        assert replies.code() is grpc.StatusCode.OK

    def test_large_messages_in_a_stream(self, service: Any) -> None:
        data = np.arange(2**18, dtype=np.float32)
        requests = (infer_request("id_fp32", INPUT0=data) for _ in range(5))
        replies = list(service.ModelStreamInfer(requests, timeout=TIMEOUT))
        assert [reply.infer_response.raw_output_contents[0] for reply in replies] == [data.tobytes()] * 5

    def test_many_at_once(self, service: Any) -> None:
        calls = [service.ModelInfer.future(simple_message(), timeout=TIMEOUT) for _ in range(300)]
        assert all(is_simple(call.result()) for call in calls)

    def test_a_client_that_gives_up_is_told_to_the_worker(self, service: Any) -> None:
        def counts(seconds: float) -> tuple[int, int]:
            reply = service.ModelInfer(infer_request("slow", INPUT0=np.array([seconds], np.float32)), timeout=TIMEOUT)
            cancelled, running = (int(np.frombuffer(raw, np.int32)[0]) for raw in reply.raw_output_contents[1:])
            return cancelled, running

        before, _ = counts(0)
        call = service.ModelInfer.future(infer_request("slow", INPUT0=np.array([20], np.float32)), timeout=TIMEOUT)
        until(lambda: counts(0)[1] == 1)
        call.cancel()
        until(lambda: counts(0) == (before + 1, 0), 5)


def test_envoys_pings_while_a_call_waits(fronts: Fronts) -> None:
    """Ten a second, each to be answered in half a second."""
    with connect(fronts.address("envoy_narrow")) as channel:
        request = infer_request("slow", INPUT0=np.array([1.2], np.float32))
        assert stub(channel).ModelInfer(request, timeout=TIMEOUT).outputs[0].name == "OUTPUT0"


@pytest.mark.parametrize(("name", "protocol"), [("nginx_plain", "http1"), ("envoy_http2", "http2")])
def test_connections_are_kept(fronts: Fronts, world: World, name: str, protocol: str) -> None:
    address = fronts.address(name)
    rest(address, "GET", LIVE)
    before = accepted(world, protocol)
    for _ in range(50):
        assert is_simple_document(rest(address, "POST", INFER, simple_document()).json)
    assert accepted(world, protocol) == before


@pytest.mark.parametrize("name", FOR_REST)
def test_a_gateway_that_ends_connections_loses_no_request(fronts: Fronts, world: World, name: str) -> None:
    address, before = fronts.address(name, world.brief), sent_away(world)

    def ask(_: int) -> bool:
        return is_simple_document(rest(address, "POST", INFER, simple_document()).json)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(20 * BRIEF)))
    until(lambda: sent_away(world) >= before + 5)


@pytest.mark.parametrize("name", FOR_GRPC)
def test_a_gateway_that_ends_connections_loses_no_call(fronts: Fronts, world: World, name: str) -> None:
    before = sent_away(world)
    with connect(fronts.address(name, world.brief)) as channel:
        for _ in range(4):
            calls = [stub(channel).ModelInfer.future(simple_message(), timeout=TIMEOUT) for _ in range(10 * BRIEF)]
            assert all(is_simple(call.result()) for call in calls)
    until(lambda: sent_away(world) >= before + 3)
