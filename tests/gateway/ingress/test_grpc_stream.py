"""ModelStreamInfer through a data plane: grpcio and hand-made frames in front, real gRPC servers behind."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from config.schema import Limits
from gateway.ingress import grpc_stream as module
from tests.support.data_plane import PlaneThread, a_config, a_listener, a_plane, a_route, a_state
from tests.support.deadline import until
from tests.support.grpc_backend import grpc_backend
from tests.support.h2_client import framed, h2_client
from tests.support.model_server import (
    Model,
    ModelServer,
    echo,
    final_of,
    ints_reply,
    model_server,
    numbers_of,
    pb,
    refusal,
    repeat,
    request_of,
    streamed,
)
from tests.support.triton import start_triton

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"
Status = grpc.StatusCode
FINAL = "triton_final_response"
WANT = "triton_enable_empty_final_response"


class Talk:
    """A client's stream, spoken message by message."""

    def __init__(self, plane: PlaneThread, timeout: float | None = 20, **options: Any) -> None:
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stub = plane.stub(listener=options.pop("listener", 0))
        self.call = stub.ModelStreamInfer(iter(self._outgoing.get, None), timeout=timeout, **options)

    def say(self, *requests: Any) -> None:
        for request in requests:
            self._outgoing.put(request)

    def end(self) -> None:
        """No more requests."""
        self._outgoing.put(None)

    def hear(self, count: int = 1) -> list[Any]:
        """The next responses."""
        return [next(self.call) for _ in range(count)]

    def rest(self) -> list[Any]:
        """Half-close, and all responses that are still to come."""
        self.end()
        return list(self.call)

    def failure(self) -> tuple[grpc.StatusCode, str]:
        """How the stream failed."""
        with pytest.raises(grpc.RpcError) as caught:
            list(self.call)
        return caught.value.code(), caught.value.details()


def said(response: Any) -> Any:
    """The error, or the numbers, or "final"."""
    if response.error_message:
        return response.error_message
    reply = response.infer_response
    return numbers_of(reply) if reply.raw_output_contents else "final"


def ids(responses: list[Any]) -> list[str]:
    return [response.infer_response.id for response in responses]


def optional(request: Any) -> Any:
    """The request, asking for the empty final response."""
    request.parameters[WANT].bool_param = True
    return request


def by_model(**models: Callable[[Any, grpc.ServicerContext], Iterator[Any]]) -> Any:
    """A stream that answers each request as its model does."""

    def stream(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            yield from models[request.model_name](request, context)

    return stream


def once(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    yield streamed(echo(request), final=True)


def many(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    yield from repeat(request)


def never(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    until(lambda: not context.is_active(), 15)
    yield from ()


def refuse(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    yield refusal(request, "not like that")


def fail(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    context.abort(Status.INTERNAL, "the worker fell over")
    yield


STREAM = by_model(m=once, many=many, never=never, refuse=refuse, fail=fail)
READY = {"1": "READY"}


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(stream=STREAM) as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "plane" in request.fixturenames:
        request.getfixturevalue("plane").wait_idle()


@contextmanager
def two_endpoints(first: Any, second: Any, **options: Any) -> Iterator[tuple[PlaneThread, ModelServer, ModelServer]]:
    """Models `a` on one endpoint and `b` on the other, which stream as given."""
    with model_server(stream=first) as one, model_server(stream=second) as two:
        with a_plane(one.address, two.address, **options) as plane:
            plane.apply(states={"p": (a_state(one.address, {"a": READY}), a_state(two.address, {"b": READY}))})
            yield plane, one, two
            plane.wait_idle()


class TestResponses:
    def test_come_in_order(self, plane: PlaneThread) -> None:
        talk = Talk(plane)
        talk.say(*(request_of(numbers=[number], id=str(number)) for number in range(200)))
        responses = talk.rest()
        assert [said(each) for each in responses] == [[number] for number in range(200)]
        assert ids(responses) == [str(number) for number in range(200)]
        assert talk.call.code() is Status.OK

    def test_messages_pass_through(self, plane: PlaneThread, server: ModelServer) -> None:
        request = request_of(numbers=range(50_000), id="large")
        request.parameters["custom"].double_param = 0.5
        talk = Talk(plane)
        talk.say(request)
        assert said(talk.rest()[0]) == list(range(50_000))
        sent = server.called("streamed")[-1]
        assert sent.parameters.pop(WANT).bool_param
        assert sent == request

    def test_of_a_decoupled_model(self, plane: PlaneThread) -> None:
        talk = Talk(plane)
        talk.say(request_of("many", [1, 2, 3]), request_of("many", []), request_of("many", [4]))
        assert [said(each) for each in talk.rest()] == [[1], [2], [3], [4]]

    def test_the_empty_final_one_is_for_those_who_ask(self, plane: PlaneThread, server: ModelServer) -> None:
        talk = Talk(plane)
        talk.say(optional(request_of("many", [1], id="x")), request_of("many", [2], id="y"))
        responses = talk.rest()
        assert [said(each) for each in responses] == [[1], "final", [2]]
        assert responses[1].infer_response.parameters[FINAL].bool_param

    def test_the_same_id_may_be_used_again(self, plane: PlaneThread) -> None:
        talk = Talk(plane)
        for wants in (True, False, True):
            request = request_of("many", [1], id="x")
            talk.say(optional(request) if wants else request)
            assert [said(each) for each in talk.hear(2 if wants else 1)] == [[1], "final"][: 1 + wants]
        assert talk.rest() == []

    def test_a_data_response_that_is_final_passes(self, plane: PlaneThread) -> None:
        talk = Talk(plane)
        talk.say(request_of())
        response = talk.rest()[0]
        assert (said(response), response.infer_response.parameters[FINAL].bool_param) == ([1, 2, 3], True)

    def test_come_while_requests_still_do(self, plane: PlaneThread) -> None:
        talk = Talk(plane)
        for number in range(5):
            talk.say(request_of(numbers=[number]))
            assert said(talk.hear()[0]) == [number]
            until(lambda: plane.held() == {"requests": 1, "in flight": 1}, 5)
        assert talk.rest() == []

    def test_no_request_is_no_response(self, plane: PlaneThread) -> None:
        talk = Talk(plane)
        assert (talk.rest(), talk.call.code()) == ([], Status.OK)


class TestErrors:
    def test_of_the_gateway_are_in_band_and_the_stream_goes_on(self, server: ModelServer) -> None:
        routes = [a_route("m", name="only"), a_route("words", name="words")]
        server.models["words"] = Model(outputs=[("OUT", "BYTES", (1,))])
        classified = request_of("words", id="c")
        classified.outputs.add(name="OUT").parameters["classification"].int64_param = 1
        with a_plane(server.address, routes=routes) as plane:
            talk = Talk(plane)
            talk.say(request_of("nope", id="x"), classified, request_of(numbers=[1], id="y"))
            responses = talk.rest()
            assert ids(responses) == ["x", "c", "y"]
            assert said(responses[0]) == "Request for unknown model: 'nope' is not found"
            assert "classification" in said(responses[1])
            assert said(responses[2]) == [1]
            plane.wait_idle()

    def test_of_the_worker_pass_and_end_their_request(self, plane: PlaneThread) -> None:
        talk = Talk(plane)
        talk.say(request_of("refuse", id="x"))
        assert said(talk.hear()[0]) == "not like that"
        until(lambda: plane.held() == {"requests": 1, "in flight": 1}, 5)
        talk.say(request_of(numbers=[2]))
        assert [said(each) for each in talk.rest()] == [[2]]

    def test_in_mid_answer_do_not_end_their_request(self) -> None:
        def stumble(request: Any, context: Any) -> Iterator[Any]:
            yield streamed(ints_reply(request, [1]))
            yield streamed(pb.ModelInferResponse(model_name="a", id=request.id), error="bad elem")
            yield streamed(ints_reply(request, [3]))
            yield final_of(request)

        with model_server(stream=by_model(a=stumble)) as server, a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(request_of("a", id="x"))
            assert [said(each) for each in talk.rest()] == [[1], "bad elem", [3]]
            plane.wait_idle()

    def test_a_stream_that_the_worker_fails_fails(self, plane: PlaneThread) -> None:
        talk = Talk(plane)
        talk.say(request_of("fail"))
        assert talk.failure() == (Status.INTERNAL, "the worker fell over")

    def test_a_message_that_is_no_request(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(PATH)
            good = framed(request_of("never").SerializeToString())
            client.send(stream, good + framed(b"\xff\xff") + good)
            call = client.finish(stream)
        assert call.status == "3"
        assert call.message == "the message is not a ModelInferRequest: malformed protobuf"

    @pytest.mark.parametrize(
        ("bytes_", "status"),
        [(framed(b"x", flags=7), "13"), (b"\0\x7f\xff\xff\xff", "8"), (framed(b"x", flags=1), "13")],
    )
    def test_framing_that_is_broken_ends_all(
        self, plane: PlaneThread, server: ModelServer, bytes_: bytes, status: str
    ) -> None:
        cancelled = len(server.cancelled)
        with h2_client(plane.port()) as client:
            stream = client.grpc(PATH)
            client.send(stream, framed(request_of("never").SerializeToString()))
            until(lambda: plane.held().get("at endpoints") == 1, 5)
            client.send(stream, bytes_)
            assert client.finish(stream).status == status
            until(lambda: len(server.cancelled) > cancelled, 5)
            plane.wait_idle()

    def test_a_message_that_is_cut_off(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(PATH)
            client.send(stream, framed(request_of("never").SerializeToString()) + b"\0\0\0", end=True)
            assert client.finish(stream).status == "13"

    def test_an_answer_that_is_none_fails_only_its_stream(self) -> None:
        def garbage(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            for _ in messages:
                yield b"\xff\xff\xff"

        gate = threading.Event()
        with grpc_backend(unary=lambda message, _: gate.wait(10) and message, stream=garbage) as address:
            with a_plane(address) as plane:
                other = plane.stub().ServerMetadata.future(pb.ServerMetadataRequest(), timeout=10)
                talk = Talk(plane)
                talk.say(request_of("a"))
                code, text = talk.failure()
                assert (code, "malformed protobuf" in text) == (Status.INTERNAL, True)
                gate.set()
                assert other.result() == pb.ServerMetadataResponse()
                plane.wait_idle()

    def test_a_bug_ends_the_stream(self, plane: PlaneThread, monkeypatch: Any, caplog: Any) -> None:
        def broken(*_: object) -> None:
            raise KeyError("a bug")

        monkeypatch.setattr(module.oip_grpc, "set_version", broken)
        with a_plane(plane.states["p"][0].address, routes=[a_route(version="1")]) as pinned:
            talk = Talk(pinned)
            talk.say(request_of(), request_of())
            assert talk.failure() == (Status.INTERNAL, "internal error")
            assert "a bug" in caplog.text
            pinned.wait_idle()


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
        with model_server(stream=STREAM) as one, model_server(stream=STREAM) as two:
            with a_plane(one.address, two.address) as plane:
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


class TestPressure:
    def test_a_client_that_does_not_read_stops_the_worker(self) -> None:
        total, size = 3000, 4000
        made: list[int] = []

        def flood(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            for number in range(total):
                made.append(number)
                yield streamed(ints_reply(request, [number] * (size // 4)))
            yield final_of(request)

        with model_server(stream=by_model(m=flood)) as server, a_plane(server.address) as plane:
            with h2_client(plane.port(), window=20_000, credit=False) as client:
                stream = client.grpc(PATH)
                client.send(stream, framed(request_of().SerializeToString()), end=True)
                until(lambda: stands_still(made), 20)
                assert len(made) * size < 8_000_000
                client.receive()
                client.credit = True
                client.give(stream)
                call = client.finish(stream)
                assert (call.status, len(call.messages)) == ("0", total)
            plane.wait_idle()

    def test_a_client_that_pauses_now_and_then_is_resumed(self) -> None:
        """What waits for the client stays small, so nothing tells of its window; the worker's must not dwindle."""
        rounds, size = 115, 40_000

        with model_server(stream=by_model(m=once)) as server, a_plane(server.address) as plane:
            with h2_client(plane.port(), window=30_000, credit=False) as client:
                stream = client.grpc(PATH)
                request = framed(request_of(numbers=[1] * (size // 4)).SerializeToString())
                for number in range(1, rounds + 1):
                    client.send(stream, request)
                    while len(client.calls[stream].data) < number * size:
                        client.receive()
                        client.give(stream)
                client.send(stream, b"", end=True)
                client.credit = True
                assert client.finish(stream).status == "0"
            plane.wait_idle()

    def test_a_slow_client_does_not_hold_up_the_others(self) -> None:
        def flood(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            while context.is_active():
                yield streamed(ints_reply(request, [0] * 25_000))

        with model_server(stream=by_model(m=flood)) as server, a_plane(server.address) as plane:
            with h2_client(plane.port(), window=20_000, credit=False) as client:
                for _ in range(6):
                    client.send(client.grpc(PATH), framed(request_of().SerializeToString()))
                until(lambda: plane.held().get("at endpoints") == 6, 5)
                time.sleep(1.0)
                assert numbers_of(plane.stub().ModelInfer(request_of(), timeout=5)) == [1, 2, 3]
            plane.wait_idle()

    def test_a_worker_that_does_not_read_stops_the_client(self) -> None:
        gate = threading.Event()

        def stuck(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            gate.wait(15)
            for request in requests:
                yield streamed(ints_reply(request, [1]), final=True)

        total = 200
        message = framed(request_of(numbers=[0] * 25_000).SerializeToString())
        with model_server(stream=stuck) as server, a_plane(server.address) as plane:
            with h2_client(plane.port()) as client:
                stream = client.grpc(PATH)
                sender = threading.Thread(target=client.send, args=(stream, message * total, True), daemon=True)
                sender.start()
                until(lambda: stands_still_at(lambda: plane.held().get("buffered", 0)), 20)
                assert 0 < plane.held()["buffered"] < 2_000_000
                assert sender.is_alive()
                gate.set()
                sender.join(20)
                assert client.finish(stream).status == "0"
                assert len(client.calls[stream].messages) == total
            plane.wait_idle()

    def test_requests_that_are_not_answered_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "OUTSTANDING_REQUESTS", 2)
        gate = threading.Event()
        taken: list[Any] = []

        def hoard(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            def take() -> None:
                for request in requests:
                    taken.append(request)

            reader = threading.Thread(target=take)
            reader.start()
            gate.wait(15)
            done = 0
            while done < total:
                until(lambda: len(taken) > done, 10)
                yield streamed(ints_reply(taken[done], [1]), final=True)
                done += 1

        total = 40
        message = framed(request_of(numbers=[0] * 25_000, id="x").SerializeToString())
        with model_server(stream=hoard) as server, a_plane(server.address) as plane:
            with h2_client(plane.port()) as client:
                stream = client.grpc(PATH)
                sender = threading.Thread(target=client.send, args=(stream, message * total, True), daemon=True)
                sender.start()
                until(lambda: len(taken) >= 2, 10)
                until(lambda: stands_still(taken), 10)
                assert len(taken) < 8
                gate.set()
                sender.join(20)
                assert (client.finish(stream).status, len(client.calls[stream].messages)) == ("0", total)
            plane.wait_idle()

    def test_what_waits_for_slow_clients_is_bounded_together(self) -> None:
        def flood(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            while context.is_active():
                yield streamed(ints_reply(request, [0] * 25_000))

        limits = Limits(buffered_bytes=500_000)
        with model_server(stream=by_model(m=flood)) as server:
            with a_plane(server.address, listen=[a_listener(limits=limits)]) as plane:
                with h2_client(plane.port(), window=20_000, credit=False) as client:
                    stream = client.grpc(PATH)
                    client.send(stream, framed(request_of().SerializeToString()))
                    until(lambda: plane.codes() == {"RESOURCE_EXHAUSTED": 1}, 5)
                plane.wait_idle()

    def test_what_waits_is_counted_for_the_listener(self) -> None:
        gate = threading.Event()

        def stuck(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            gate.wait(15)
            yield from ()

        message = framed(request_of(numbers=[0] * 200_000).SerializeToString())
        limits = Limits(buffered_bytes=500_000)
        with model_server(stream=stuck) as server:
            with a_plane(server.address, listen=[a_listener(limits=limits)]) as plane:
                with h2_client(plane.port()) as client:
                    stream = client.grpc(PATH)
                    client.send(stream, message[:400_000])
                    until(lambda: plane.held().get("buffered") == 400_000, 5)
                    other = client.grpc(PATH)
                    client.send(other, message[:200_000])
                    call = client.finish(other)
                    assert (call.status, call.message) == ("8", "too many bytes are waiting in this worker")
                plane.wait_idle()
        gate.set()


class TestEnds:
    def test_the_client_cancels(self, server: ModelServer) -> None:
        cancelled = len(server.cancelled)
        with a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(*(request_of("never") for _ in range(3)))
            until(lambda: plane.held().get("at endpoints") == 3, 5)
            until(lambda: len(server.called("ModelStreamInfer")), 5)
            talk.call.cancel()
            until(lambda: len(server.cancelled) > cancelled, 5)
            plane.wait_idle()
            assert plane.codes() == {"CANCELLED": 1}

    def test_the_client_is_gone(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(PATH)
            client.send(stream, framed(request_of("never").SerializeToString()))
            until(lambda: plane.held().get("at endpoints") == 1, 5)

    def test_the_deadline_passes(self, server: ModelServer) -> None:
        with a_plane(server.address) as plane:
            talk = Talk(plane, timeout=0.3)
            talk.say(request_of("never"))
            assert talk.failure()[0] is Status.DEADLINE_EXCEEDED
            with h2_client(plane.port()) as client:
                stream = client.grpc(PATH, [("grpc-timeout", "200m")])
                client.send(stream, framed(request_of("never").SerializeToString()))
                call = client.finish(stream)
                assert (call.status, call.message) == ("4", "deadline exceeded")
            plane.wait_idle()
            assert plane.codes().get("DEADLINE_EXCEEDED", 0) >= 1

    def test_the_deadline_passes_before_any_request(self, plane: PlaneThread) -> None:
        with h2_client(plane.port()) as client:
            stream = client.grpc(PATH, [("grpc-timeout", "50m")])
            assert client.finish(stream).status == "4"

    def test_half_closed_it_waits_for_the_answers(self) -> None:
        gate = threading.Event()

        def slow(request: Any, context: Any) -> Iterator[Any]:
            gate.wait(10)
            yield streamed(echo(request), final=True)

        with model_server(stream=by_model(m=slow)) as server, a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(request_of(), request_of())
            talk.end()
            until(lambda: plane.held().get("at endpoints") == 2, 5)
            gate.set()
            assert len(list(talk.call)) == 2
            assert talk.call.code() is Status.OK
            plane.wait_idle()

    def test_an_endpoint_that_leaves_the_configuration_finishes_its_streams(self) -> None:
        gate = threading.Event()

        def slow(request: Any, context: Any) -> Iterator[Any]:
            gate.wait(10)
            yield streamed(echo(request), final=True)

        with model_server(stream=by_model(m=slow)) as old, model_server(stream=by_model(m=once)) as new:
            with a_plane(old.address) as plane:
                talk = Talk(plane)
                talk.say(request_of())
                until(lambda: old.called("streamed"), 5)
                plane.apply(config=a_config(new.address, listen=plane.config.listen), states={"p": ()})
                gate.set()
                assert said(talk.hear()[0]) == [1, 2, 3]
                talk.say(request_of(numbers=[5]))
                assert [said(each) for each in talk.rest()] == [[5]]
                assert len(new.called("streamed")) == 1
                plane.wait_idle()


def stands_still(made: list[Any]) -> bool:
    return stands_still_at(lambda: len(made))


def stands_still_at(probe: Callable[[], float]) -> bool:
    before = probe()
    time.sleep(0.5)
    return before > 0 and probe() == before


@pytest.mark.triton
def test_a_real_triton() -> None:
    with a_plane(start_triton(["repeat_int32", "id_int32"]).grpc_address) as plane:
        talk = Talk(plane)
        repeated = pb.ModelInferRequest(model_name="repeat_int32", id="r")
        for name, datatype, numbers in (("IN", "INT32", [4, 2]), ("DELAY", "UINT32", [0, 0]), ("WAIT", "UINT32", [0])):
            repeated.inputs.add(name=name, datatype=datatype, shape=[len(numbers)])
            repeated.raw_input_contents.append(request_of(numbers=numbers).raw_input_contents[0])
        wrong = request_of("id_int32", id="w")
        wrong.inputs[0].datatype = "FP32"
        talk.say(repeated, request_of("id_int32", [7], id="i"), wrong, request_of("nope", id="n"))
        responses = talk.rest()
        assert sorted(ids(responses)) == ["i", "n", "r", "r", "w"]
        assert [said(each) for each in responses if each.infer_response.id == "r"] == [[4], [2]]
        assert [said(each) for each in responses if each.infer_response.id == "i"] == [[7]]
        plane.wait_idle()
