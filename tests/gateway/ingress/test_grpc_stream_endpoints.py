"""Which endpoints the requests of a stream go to, and what happens when those go away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from tests.support.data_plane import PlaneThread, a_plane, a_route, a_state
from tests.support.deadline import until
from tests.support.model_server import (
    ModelServer,
    echo,
    model_server,
    pb,
    request_of,
    streamed,
)
from tests.support.stream_client import (
    READY,
    STREAM,
    Status,
    Talk,
    by_model,
    ids,
    many,
    once,
    said,
)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(stream=STREAM) as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


@contextmanager
def two_endpoints(first: Any, second: Any, **options: Any) -> Iterator[tuple[PlaneThread, ModelServer, ModelServer]]:
    """Models `a` on one endpoint and `b` on the other, which stream as given."""
    with (
        model_server(stream=first) as one,
        model_server(stream=second) as two,
        a_plane(one.address, two.address, **options) as plane,
    ):
        plane.apply(states={"p": (a_state(one.address, {"a": READY}), a_state(two.address, {"b": READY}))})
        yield plane, one, two
        plane.wait_idle()


class TestEndpoints:
    def test_each_model_goes_where_it_is(self) -> None:
        with two_endpoints(by_model(a=once), by_model(b=many)) as (plane, one, two):
            talk = Talk(plane)
            for number in range(5):
                talk.say(request_of("a", [number], id=f"a{number}"), request_of("b", [number], id=f"b{number}"))
            responses = talk.rest()
            assert [each for each in ids(responses) if each[0] == "a"] == [f"a{number}" for number in range(5)]
            assert [each for each in ids(responses) if each[0] == "b"] == [f"b{number}" for number in range(5)]
            assert {each.model_name for each in one.called("streamed")} == {"a"}
            assert [name for name, _, _ in two.calls].count("ModelStreamInfer") == 1

    def test_answers_without_ids_keep_the_order_of_their_requests(self) -> None:
        gate = threading.Event()

        def slow(request: Any, context: Any) -> Iterator[Any]:
            gate.wait(10)
            yield streamed(echo(request), final=True)

        with two_endpoints(by_model(a=slow), by_model(b=once)) as (plane, _, two):
            talk = Talk(plane)
            talk.say(request_of("a", [1]), request_of("b", [2]), request_of("nope"), request_of("b", [3]))
            until(lambda: plane.held().get("at endpoints") == 1, 5)
            time.sleep(0.1)
            assert two.called("streamed") == []
            gate.set()
            unknown = "Request for unknown model: 'nope' is not found"
            assert [said(each) for each in talk.rest()] == [[1], [2], unknown, [3]]

    def test_answers_with_ids_need_not(self) -> None:
        gate = threading.Event()

        def slow(request: Any, context: Any) -> Iterator[Any]:
            gate.wait(10)
            yield streamed(echo(request), final=True)

        with two_endpoints(by_model(a=slow), by_model(b=once)) as (plane, _, _two):
            talk = Talk(plane)
            talk.say(request_of("a", [1], id="1"), request_of("b", [2], id="2"), request_of("nope", id="3"))
            assert sorted(ids(talk.hear(2))) == ["2", "3"]
            gate.set()
            assert ids(talk.rest()) == ["1"]

    def test_a_stream_stays_where_it_is(self, server: ModelServer) -> None:
        with model_server(stream=STREAM) as other, a_plane(server.address, other.address) as plane:
            talk = Talk(plane)
            talk.say(*(request_of() for _ in range(20)))
            assert len(talk.rest()) == 20
            assert [name for name, _, _ in other.calls].count("streamed") in (0, 20)
            plane.wait_idle()

    def test_a_sequence_goes_where_its_unary_requests_go(self) -> None:
        with (
            model_server(stream=STREAM) as one,
            model_server(stream=STREAM) as two,
            a_plane(one.address, two.address) as plane,
        ):
            for sequence in range(1, 9):
                numbered = request_of()
                numbered.parameters["sequence_id"].int64_param = sequence
                plane.stub().ModelInfer(numbered, timeout=10)
                talk = Talk(plane)
                talk.say(request_of(), numbered, numbered)
                assert len(talk.rest()) == 3
            for each in (one, two):
                unary = {request.parameters["sequence_id"].int64_param for request in each.called("ModelInfer")}
                both = {request.parameters["sequence_id"].int64_param for request in each.called("streamed")}
                assert both - {0} == unary
                assert unary
            plane.wait_idle()

    def test_the_route_chooses_the_version(self, server: ModelServer) -> None:
        with a_plane(server.address, routes=[a_route(version="2")]) as plane:
            talk = Talk(plane)
            talk.say(request_of(), request_of(version="3"))
            assert [each.infer_response.model_version for each in talk.rest()] == ["2", "3"]
            plane.wait_idle()

    def test_one_that_cannot_be_reached_is_passed_over(self, server: ModelServer) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            dead = f"127.0.0.1:{closed.getsockname()[1]}"
        with a_plane(dead, server.address, connect_timeout=0.2) as plane:
            for _ in range(3):
                talk = Talk(plane)
                talk.say(request_of())
                assert [said(each) for each in talk.rest()] == [[1, 2, 3]]
            plane.wait_idle()

    def test_none_at_all_is_told_in_band(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            dead = f"127.0.0.1:{closed.getsockname()[1]}"
        with a_plane(dead, connect_timeout=0.2) as plane:
            talk = Talk(plane)
            talk.say(request_of(id="x"))
            responses = talk.rest()
            assert ids(responses) == ["x"]
            assert f"endpoint {dead} cannot be reached" in said(responses[0])
            plane.wait_idle()

    def test_allowed_metadata_travels_on(self, plane: PlaneThread, server: ModelServer) -> None:
        talk = Talk(plane, metadata=[("traceparent", "00-1-2-01"), ("triton_grpc_error", "true")])
        talk.say(request_of())
        talk.rest()
        metadata = next(metadata for name, _, metadata in reversed(server.calls) if name == "ModelStreamInfer")
        assert metadata["traceparent"] == "00-1-2-01"
        assert "triton_grpc_error" not in metadata


class TestDeath:
    def test_with_requests_outstanding_fails_the_stream(self) -> None:
        with model_server(stream=STREAM) as server, a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(request_of("never"))
            until(lambda: plane.held().get("at endpoints") == 1, 5)
            address = server.address
            threading.Thread(target=self.kill, args=(plane, address)).start()
            code, text = talk.failure()
            assert (code, f"endpoint {address}" in text) == (Status.UNAVAILABLE, True)
            plane.wait_idle()
            assert plane.codes() == {"UNAVAILABLE": 1}

    def kill(self, plane: PlaneThread, address: str) -> None:
        """Break the connection as a crash does."""

        async def main() -> None:
            for backend in plane.plane._builder._backends.values():
                for connection in list(backend.channel._connections):
                    connection._transport.abort()  # type: ignore[union-attr]

        plane.run(main)

    def test_without_any_the_next_request_opens_another(self) -> None:
        with model_server(stream=STREAM) as server, a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(request_of(numbers=[1]))
            assert said(talk.hear()[0]) == [1]
            self.kill(plane, server.address)
            until(lambda: plane.counted("penstock_upstream_connections"), 5)
            talk.say(request_of(numbers=[2]))
            assert [said(each) for each in talk.rest()] == [[2]]
            plane.wait_idle()
            assert plane.codes() == {"OK": 1}

    def test_after_everything_was_answered_is_an_end(self) -> None:
        def abort_at_end(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for request in requests:
                yield streamed(echo(request), final=True)
            context.abort(Status.UNKNOWN, "too late to matter")

        with model_server(stream=abort_at_end) as server, a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(request_of())
            assert (len(talk.rest()), talk.call.code()) == (1, Status.OK)
            plane.wait_idle()

    def test_an_end_before_the_answers_is_a_failure(self) -> None:
        def leave(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            next(requests)
            yield from ()

        with model_server(stream=leave) as server, a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(request_of())
            code, text = talk.failure()
            assert (code, server.address in text) == (Status.UNAVAILABLE, True)
            plane.wait_idle()

    def test_answers_that_are_never_marked_as_final_end_with_the_stream(self) -> None:
        def plain(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for request in requests:
                yield pb.ModelStreamInferResponse(infer_response=echo(request))

        with model_server(stream=plain) as server, a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(request_of(), request_of())
            assert (len(talk.rest()), talk.call.code()) == (2, Status.OK)
            plane.wait_idle()
