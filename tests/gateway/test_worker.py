"""The data plane as a whole: worlds, listeners, health, reports and drains."""

from __future__ import annotations

import asyncio
import errno
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import msgspec
import pytest

from config.schema import Config, Endpoint, Pool
from gateway.telemetry.metrics import Metrics
from gateway.worker import DataPlane
from gateway.world import World
from tests.support.data_plane import PlaneThread, a_config, a_listener, a_plane, a_route, a_state, running
from tests.support.deadline import until
from tests.support.h2_client import framed, h2_client
from tests.support.model_server import ModelServer, echo, model_server, request_of

INFER = "/inference.GRPCInferenceService/ModelInfer"
DOCUMENT = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [1]}]}


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as started:
        yield started


@pytest.fixture
def hanging(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    release = threading.Event()
    monkeypatch.setattr(server, "infer", lambda request, context: release.wait(15) and echo(request))
    yield release
    release.set()


async def no_refresh(pool: str, address: str = "") -> None:
    pass


async def a_data_plane(config: Config) -> None:
    plane = DataPlane(0, Metrics(), no_refresh)
    try:
        await plane.apply(World(1, config, {}))
    finally:
        await plane.close()


class TestApply:
    def test_the_first_world_opens_the_listeners_and_later_ones_do_not(self, server: ModelServer) -> None:
        with a_plane(server.address, listen=[a_listener("one"), a_listener("two")]) as plane:
            ports = [plane.port(0), plane.port(1)]
            for _ in range(3):
                plane.apply()
            assert [plane.port(0), plane.port(1)] == ports
            assert plane.plane.ready
            for listener in (0, 1):
                assert plane.request("GET", "/v2/health/ready", listener=listener).status == 200

    def test_a_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            listener = msgspec.structs.replace(a_listener(), address=address)
            with pytest.raises(OSError, match=f"cannot listen on {address}") as caught:
                asyncio.run(a_data_plane(a_config("127.0.0.1:1", listen=[a_listener("good"), listener])))
            assert caught.value.errno == errno.EADDRINUSE

    def test_a_header_that_may_not_be_forwarded(self) -> None:
        config = a_config("127.0.0.1:1", listen=[a_listener(forward_headers=("authorization",))])
        with pytest.raises(ValueError, match="'authorization' may not be forwarded"):
            asyncio.run(a_data_plane(config))

    def test_requests_in_flight_keep_their_route(self, server: ModelServer, hanging: threading.Event) -> None:
        with a_plane(server.address) as plane:
            call = plane.stub().ModelInfer.future(request_of(), timeout=10)
            until(lambda: plane.counted("penstock_inflight") == {("*",): 1}, 5)
            plane.apply(config=msgspec.structs.replace(plane.config, routes=(a_route("x"), a_route("*"))))
            assert plane.counted("penstock_inflight") == {("*",): 1}
            hanging.set()
            assert call.result().model_name == "m"
            plane.wait_idle()
            assert plane.counted("penstock_requests_total") == {("*", "inference", "OK", ""): 1}

    def test_models_come_and_go_with_worlds(self, server: ModelServer) -> None:
        with a_plane(server.address, models={}) as plane:
            assert plane.post("/v2/models/m/infer", DOCUMENT).status == 404
            plane.set_models({"m": {"1": "READY"}})
            assert plane.post("/v2/models/m/infer", DOCUMENT).status == 200
            plane.set_models({"m": {"1": "UNLOADING"}})
            assert plane.post("/v2/models/m/infer", DOCUMENT).status == 404


class TestServing:
    def test_each_route_must_have_somewhere_to_go(self, server: ModelServer) -> None:
        pools = {name: Pool(endpoints=(Endpoint(server.address),)) for name in ("p", "q", "unused")}
        config = Config(listen=(a_listener(),), pools=pools, routes=(a_route("a"), a_route("b", "q")))
        states = {name: [a_state(server.address, live=name != "unused")] for name in pools}
        with running(config, states) as plane:
            assert plane.plane.serving
            plane.apply(states={"q": (a_state(server.address, live=False),)})
            assert not plane.plane.serving
            plane.apply(states={"q": (a_state(server.address),)})
            assert plane.plane.serving
            plane.apply(draining=True)
            assert not plane.plane.serving
            plane.apply()
            assert not plane.plane.serving
            assert plane.get("/v2/health/ready").status == 400
            assert plane.post("/v2/models/a/infer", DOCUMENT).status == 200


class TestReport:
    def test_connections_streams_and_bytes(self, server: ModelServer, hanging: threading.Event) -> None:
        with a_plane(server.address) as plane, h2_client(plane.port()) as client:
            with socket.create_connection(("127.0.0.1", plane.port())):
                plain = http.client.HTTPConnection("127.0.0.1", plane.port(), timeout=10)
                plain.request("GET", "/v2/health/live")
                plain.getresponse().read()
                for _ in range(2):
                    stream = client.grpc(INFER)
                    client.send(stream, framed(request_of().SerializeToString()), end=True)
                other = client.grpc(INFER)
                client.send(other, framed(bytes(1000))[:500])
                until(lambda: plane.held().get("at endpoints") == 2, 5)
                assert plane.counted("penstock_connections") == {
                    ("main", "edge"): 1,
                    ("main", "http1"): 1,
                    ("main", "http2"): 1,
                }
                assert plane.counted("penstock_streams") == {("main",): 3}
                assert plane.counted("penstock_buffered_bytes") == {
                    ("main",): 500 + 2 * len(framed(request_of().SerializeToString()))
                }
                assert plane.counted("penstock_endpoint_inflight") == {("p", server.address): 2}
                assert plane.counted("penstock_upstream_connections") == {("p", server.address): 1}
                plain.close()
            hanging.set()
        # all is over with the connections

    def test_it_says_zero_when_all_is_over(self, server: ModelServer) -> None:
        with a_plane(server.address) as plane:
            assert plane.post("/v2/models/m/infer", DOCUMENT).status == 200
            until(lambda: not plane.counted("penstock_connections"), 5)
            assert plane.held() == {}
            gauges = plane.metrics.snapshot().gauges
            assert gauges["penstock_connections"] == {("main", each): 0 for each in ("edge", "http1", "http2")}


class TestDrain:
    def drain(self, plane: PlaneThread, delay: float, timeout: float) -> threading.Thread:
        thread = threading.Thread(target=plane.run, args=(lambda: plane.plane.drain(delay, timeout),))
        thread.start()
        return thread

    def test_requests_in_flight_finish_and_idle_connections_close(
        self, server: ModelServer, hanging: threading.Event
    ) -> None:
        with a_plane(server.address) as plane:
            idle = http.client.HTTPConnection("127.0.0.1", plane.port(), timeout=10)
            idle.request("GET", "/v2/health/live")
            idle.getresponse().read()
            call = plane.stub().ModelInfer.future(request_of(), timeout=10)
            answers: list[Any] = []
            rest = threading.Thread(target=lambda: answers.append(plane.post("/v2/models/m/infer", DOCUMENT)))
            rest.start()
            until(lambda: plane.held().get("at endpoints") == 2, 5)
            drain = self.drain(plane, 0.0, 10.0)
            assert idle.sock.recv(1) == b""
            idle.close()
            time.sleep(0.1)
            assert drain.is_alive()
            hanging.set()
            assert call.result().model_name == "m"
            rest.join(10)
            assert answers[0].status == 200
            drain.join(10)
            assert not drain.is_alive()
            assert plane.held() == {}

    def test_while_it_is_delayed_everything_is_still_taken(self, server: ModelServer) -> None:
        with a_plane(server.address) as plane:
            drain = self.drain(plane, 0.5, 5.0)
            until(lambda: not plane.plane.serving, 5)
            assert plane.get("/v2/health/ready").status == 400
            assert plane.post("/v2/models/m/infer", DOCUMENT).status == 200
            drain.join(10)

    def test_it_does_not_wait_for_ever(self, server: ModelServer, hanging: threading.Event, caplog: Any) -> None:
        with a_plane(server.address) as plane:
            call = plane.stub().ModelInfer.future(request_of(), timeout=10)
            until(lambda: plane.held().get("at endpoints") == 1, 5)
            started = time.monotonic()
            plane.run(lambda: plane.plane.drain(0.0, 0.2))
            assert time.monotonic() - started < 5
            assert "drain timed out with 1 requests in flight" in caplog.text
            plane.run(plane.plane.close)
            with pytest.raises(grpc.RpcError):
                call.result()
            plane.wait_idle()
