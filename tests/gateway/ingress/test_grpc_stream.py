"""ModelStreamInfer through a data plane: grpcio and hand-made frames in front, real gRPC servers behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.support.data_plane import PlaneThread, a_config, a_plane, a_route, a_state
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
    pb,
    request_of,
    streamed,
)
from tests.support.stream_client import (
    FINAL,
    PATH,
    STREAM,
    WANT,
    Status,
    Talk,
    by_model,
    ids,
    once,
    optional,
    said,
)
from tests.support.triton import start_triton


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server(stream=STREAM) as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


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

    def test_stay_in_front_of_the_answers_behind_them(self) -> None:
        def in_pairs(requests: Iterator[Any], context: Any) -> Iterator[Any]:
            for bad, good in zip(requests, requests, strict=True):
                yield streamed(pb.ModelInferResponse(id=bad.id), error=f"not {bad.id}")
                yield streamed(echo(good), final=True)

        with model_server(stream=in_pairs) as server, a_plane(server.address) as plane:
            talk = Talk(plane)
            talk.say(*(request_of(numbers=[number], id=str(number)) for number in range(40)))
            told = [said(each) for each in talk.rest()]
            assert told == [f"not {number}" if number % 2 == 0 else [number] for number in range(40)]

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
        asked, cancelled = len(server.called("streamed")), len(server.cancelled)
        with h2_client(plane.port()) as client:
            stream = client.grpc(PATH)
            client.send(stream, framed(request_of("never").SerializeToString()))
            until(lambda: len(server.called("streamed")) > asked, 5)
            assert plane.held().get("at endpoints") == 1
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
        with (
            grpc_backend(unary=lambda message, _: gate.wait(10) and message, stream=garbage) as address,
            a_plane(address) as plane,
        ):
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

        monkeypatch.setattr(plane.plane.guard, "check_classified", broken)
        request = request_of()
        request.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = 1
        talk = Talk(plane)
        talk.say(request, request_of())
        assert talk.failure() == (Status.INTERNAL, "internal error")
        assert "a bug" in caplog.text
        plane.wait_idle()


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

        with (
            model_server(stream=by_model(m=slow)) as old,
            model_server(stream=by_model(m=once)) as new,
            a_plane(old.address) as plane,
        ):
            talk = Talk(plane)
            talk.say(request_of())
            until(lambda: old.called("streamed"), 5)
            plane.apply(config=a_config(new.address, listen=plane.config.listen), states={"p": (a_state(new.address),)})
            gate.set()
            assert said(talk.hear()[0]) == [1, 2, 3]
            talk.say(request_of(numbers=[5]))
            assert [said(each) for each in talk.rest()] == [[5]]
            assert len(new.called("streamed")) == 1
            plane.wait_idle()


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
