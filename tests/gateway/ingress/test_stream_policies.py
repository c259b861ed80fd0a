"""Policies around the beginning of streams, over gRPC and REST: tried again, taken elsewhere, bounded in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from config.routes import PolicySpec
from config.schema import Config, Endpoint, Pool
from tests.support.data_plane import PlaneThread, a_listener, a_route, a_state, running
from tests.support.deadline import until
from tests.support.generation import LLM, STREAM, events, outs
from tests.support.model_server import (
    Model,
    ModelServer,
    echo,
    final_of,
    ints_reply,
    model_server,
    refusal,
    request_of,
    streamed,
)
from tests.support.stream_client import Status, Talk, ids, once, said

FULL = "Exceeds maximum queue size"
AGAIN: dict[str, Any] = {"idempotent": True, "attempts": 3, "budget": 1.0, "min_per_second": 100.0}
SPARE: dict[str, Any] = {"to": {"pool": "q", "model": None, "version": None}, "name": "spare"}
Answers = Callable[[Any, grpc.ServicerContext], Iterator[Any]]


def retry(**more: Any) -> PolicySpec:
    return PolicySpec("retry", {**AGAIN, "backoff": 0.001, "max_backoff": 0.001, **more})


def fallback(*when: str, **more: Any) -> PolicySpec:
    return PolicySpec("fallback", {**SPARE, "when": list(when or ("unavailable", "not_ready", "broken")), **more})


def timeout(**more: float) -> PolicySpec:
    return PolicySpec("timeout", more)


def full(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    yield refusal(request, FULL)


def fails(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    yield refusal(request, "Failed to process the request(s) for model instance 'm'")


def dies(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    context.abort(Status.UNAVAILABLE, "out of memory")
    yield


def late(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    until(lambda: not context.is_active(), 15)
    yield from ()


def stalls(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    for number in range(3):
        yield streamed(ints_reply(request, [number]))
    until(lambda: not context.is_active(), 15)


def drips(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    for number in range(100):
        if not context.is_active():
            return
        yield streamed(ints_reply(request, [number]))
        time.sleep(0.03)
    yield final_of(request)


def count(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    for number in range(3):
        yield streamed(ints_reply(request, [number]))
    yield final_of(request)


def first_then(first: Answers, then: Answers) -> Answers:
    """The first request is answered by one, all others by the other."""
    seen: list[Any] = []

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        seen.append(request)
        yield from (first if len(seen) == 1 else then)(request, context)

    return answer


def stream_of(answer: Answers) -> Any:
    return lambda requests, context: (each for request in requests for each in answer(request, context))


class World:
    """A plane with pool `p` over some servers, and pool `q` over one more."""

    def __init__(self, plane: PlaneThread, servers: Sequence[ModelServer], spare: ModelServer) -> None:
        self.plane = plane
        self.servers = servers
        self.spare = spare

    def streamed(self) -> list[int]:
        return [len(each.called("streamed")) for each in (*self.servers, self.spare)]


@contextmanager
def a_world(*answers: Answers, policies: Sequence[PolicySpec], spare: Answers = count, **route: Any) -> Iterator[World]:
    models = {"m": Model(), "llm": LLM}
    with model_server(stream=stream_of(spare), models=dict(models)) as other:
        made = [model_server(stream=stream_of(each), models=dict(models)) for each in answers]
        servers = [each.__enter__() for each in made]
        try:
            pools = {
                "p": Pool(endpoints=tuple(Endpoint(each.address) for each in servers)),
                "q": Pool(endpoints=(Endpoint(other.address),)),
            }
            routes = (a_route(policies=tuple(policies), **route),)
            states = {"p": [a_state(each.address) for each in servers], "q": [a_state(other.address)]}
            with running(Config(listen=(a_listener(),), pools=pools, routes=routes), states) as plane:
                yield World(plane, servers, other)
                plane.wait_idle()
        finally:
            for each in made:
                each.__exit__(None, None, None)


def ask_grpc(world: World) -> list[Any]:
    talk = Talk(world.plane)
    talk.say(request_of("llm", [1], id="x"))
    return [said(each) for each in talk.rest()]


def ask_rest(world: World) -> list[Any]:
    answer = world.plane.post(STREAM, {"IN": [1]})
    if answer.status != 200:
        return [answer.error]
    return [value if isinstance(value, str) else [value] for value in outs(answer)]


BOTH = pytest.mark.parametrize("ask", [ask_grpc, ask_rest])
WHOLE = [[0], [1], [2]]


class TestAgain:
    @BOTH
    @pytest.mark.parametrize("failing", [full, fails, dies])
    def test_a_stream_that_failed_before_its_first_message_is_begun_elsewhere(
        self, ask: Callable[[World], list[Any]], failing: Answers
    ) -> None:
        answer = first_then(failing, count)
        with a_world(answer, answer, policies=[retry()]) as world:
            assert ask(world) == WHOLE
            assert world.streamed() == [1, 1, 0]

    @BOTH
    @pytest.mark.parametrize(("failing", "text"), [(fails, "Failed to process"), (dies, "out of memory")])
    def test_what_may_have_run_is_not_unless_that_does_no_harm(
        self, ask: Callable[[World], list[Any]], failing: Answers, text: str
    ) -> None:
        with a_world(failing, failing, policies=[retry(idempotent=False)]) as world:
            try:
                (told,) = ask(world)
            except grpc.RpcError as error:
                told = error.details()
            assert text in told
            assert sum(world.streamed()) == 1

    def test_what_failed_after_it_is_not(self) -> None:
        def breaks(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield streamed(ints_reply(request, [0]))
            context.abort(Status.UNAVAILABLE, "out of memory")

        with a_world(breaks, breaks, policies=[retry(), fallback()]) as world:
            assert ask_rest(world) == [[0], "out of memory"]
            talk = Talk(world.plane)
            talk.say(request_of("llm", [1], id="x"))
            assert said(talk.hear()[0]) == [0]
            assert talk.failure() == (Status.UNAVAILABLE, "out of memory")
            assert sum(world.streamed()) == 2

    def test_without_a_policy_what_never_ran_goes_to_another_endpoint_too(self) -> None:
        answer = first_then(full, count)
        with a_world(answer, answer, policies=[]) as world:
            assert ask_grpc(world) == WHOLE
            assert world.streamed() == [1, 1, 0]

    def test_all_requests_of_a_stream_that_failed_are_sent_again(self) -> None:
        """None of them has been answered: the stream is lost with the endpoint, and each goes again by its own id."""
        gate = threading.Event()

        def hoards(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for taken, _ in enumerate(requests, 1):
                if taken == 20:
                    gate.set()
                    context.abort(Status.UNAVAILABLE, "out of memory")
            yield from ()

        with a_world(once, once, policies=[retry()]) as world:
            first, second = world.servers
            first.stream = second.stream = lambda requests, context: (
                stream_of(once)(requests, context) if gate.is_set() else hoards(requests, context)
            )
            talk = Talk(world.plane)
            talk.say(*(request_of("m", [number], id=str(number)) for number in range(20)))
            responses = talk.rest()
            assert sorted(ids(responses), key=int) == [str(number) for number in range(20)]
            assert all(said(each) == [int(each.infer_response.id)] for each in responses)
            assert sum(world.streamed()) == 40

    def test_requests_without_ids_keep_their_order(self) -> None:
        """The first one is refused while others wait behind it, so its error is told in its place."""
        gate = threading.Event()

        def refuses_first(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            taken = [next(requests) for _ in range(3)]
            gate.wait(10)
            yield refusal(taken[0], FULL)
            for request in taken[1:]:
                yield streamed(echo(request), final=True)

        with a_world(once, policies=[retry(), fallback("overloaded")]) as world:
            world.servers[0].stream = refuses_first
            talk = Talk(world.plane)
            talk.say(*(request_of("m", [number]) for number in range(3)))
            until(lambda: len(world.servers[0].called("streamed")) == 3, 5)
            gate.set()
            assert [said(each) for each in talk.rest()] == [FULL, [1], [2]]
            assert world.streamed() == [3, 0]

    def test_those_behind_one_without_an_id_wait_until_it_is_through(self) -> None:
        answer = first_then(full, once)
        with a_world(answer, answer, policies=[retry()]) as world:
            for _ in range(5):
                talk = Talk(world.plane)
                talk.say(*(request_of("m", [number]) for number in range(6)))
                answers = [said(each) for each in talk.rest()]
                assert answers in ([[number] for number in range(6)], [FULL, *([number] for number in range(1, 6))])


class TestElsewhere:
    @BOTH
    @pytest.mark.parametrize("why", ["dead", "fails", "full"])
    def test_another_pool_takes_what_could_not_begin(self, ask: Callable[[World], list[Any]], why: str) -> None:
        answer = full if why == "full" else fails
        policies = [fallback("unavailable", "broken", "overloaded"), retry(attempts=2)]
        with a_world(answer, policies=policies) as world:
            if why == "dead":
                world.plane.apply(states={"p": (a_state(world.servers[0].address, live=False),)})
            assert ask(world) == WHOLE
            assert world.streamed()[-1] == 1
            assert list(world.plane.counted("penstock_requests_total")) == [("*", "inference", "OK", "spare")]

    def test_the_client_is_told(self) -> None:
        with a_world(full, policies=[fallback("overloaded")]) as world:
            assert world.plane.post(STREAM, {"IN": [1]}).headers["penstock-variant"] == "spare"
            talk = Talk(world.plane)
            talk.say(request_of("llm", id="x"))
            talk.rest()
            assert ("penstock-variant", "spare") in [tuple(each) for each in talk.call.trailing_metadata()]

    def test_as_another_model_of_another_version(self) -> None:
        to = {"pool": "q", "model": "small", "version": "3"}
        with a_world(full, policies=[fallback("overloaded", to=to)], spare=once) as world:
            talk = Talk(world.plane)
            talk.say(request_of("m", [7], id="x"))
            (answer,) = talk.rest()
            assert (said(answer), answer.infer_response.model_name, answer.infer_response.model_version) == (
                [7],
                "small",
                "3",
            )

    def test_a_generate_request_is_written_for_the_model_that_takes_it(self) -> None:
        """It has other inputs, and answers once."""
        to = {"pool": "q", "model": "small", "version": None}
        with a_world(full, policies=[fallback("overloaded", to=to)]) as world:
            world.spare.models["small"] = Model(inputs=[("IN", "FP32", (-1,))])
            answer = world.plane.post(STREAM, {"IN": [1]})
            assert [event["model_name"] for event in events(answer)] == ["small"]
            (sent,) = world.spare.called("ModelInfer")
            assert (sent.model_name, sent.inputs[0].datatype) == ("small", "FP32")


class TestTime:
    @BOTH
    @pytest.mark.parametrize(
        ("answer", "limit", "heard", "text"),
        [
            (late, {"first_byte": 0.2}, 0, "no message of an answer in 0.2 s (timeout.first_byte)"),
            (stalls, {"first_byte": 2.0, "idle": 0.2}, 3, "no further message of the answer for 0.2 s (timeout.idle)"),
            (stalls, {"total": 0.3}, 3, "the answer was not complete in 0.3 s (timeout.total)"),
            (late, {"total": 0.3, "first_byte": 5.0}, 0, "the answer was not complete in 0.3 s (timeout.total)"),
        ],
    )
    def test_each_is_bounded_and_named(
        self, ask: Callable[[World], list[Any]], answer: Answers, limit: dict[str, float], heard: int, text: str
    ) -> None:
        with a_world(answer, policies=[timeout(**limit)]) as world:
            began = time.monotonic()
            if ask is ask_rest:
                assert ask_rest(world) == [*([number] for number in range(heard)), f"deadline exceeded: {text}"]
            else:
                talk = Talk(world.plane)
                talk.say(request_of("llm", [1], id="x"))
                assert len(talk.hear(heard)) == heard
                assert talk.failure() == (Status.DEADLINE_EXCEEDED, f"deadline exceeded: {text}")
            assert time.monotonic() - began < 1.5
            assert world.plane.codes() == {"DEADLINE_EXCEEDED": 1}
            until(lambda: world.servers[0].cancelled == ["ModelStreamInfer"], 5)

    @BOTH
    def test_messages_in_time_are_not(self, ask: Callable[[World], list[Any]]) -> None:
        with a_world(drips, policies=[timeout(first_byte=0.5, idle=0.5)]) as world:
            assert len(ask(world)) == 100

    def test_each_request_of_a_stream_has_its_own(self) -> None:
        def slow(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            time.sleep(0.15)
            yield streamed(echo(request), final=True)

        with a_world(slow, policies=[timeout(total=0.4, first_byte=0.4, idle=0.3)]) as world:
            talk = Talk(world.plane)
            for number in range(5):
                talk.say(request_of("m", [number]))
                assert said(talk.hear()[0]) == [number]
            time.sleep(0.5)  # nothing is asked, so nothing is late
            talk.say(request_of("m", [9]))
            assert [said(each) for each in talk.rest()] == [[9]]

    def test_a_silent_model_is_passed_over(self) -> None:
        with a_world(late, late, policies=[timeout(first_byte=1.05)]) as world:
            pool = world.plane.plane.snapshot.pools["p"]
            talk = Talk(world.plane)
            talk.say(request_of("m", id="x"))
            assert talk.failure()[0] is Status.DEADLINE_EXCEEDED
            assert pool.health.watched == 1

    def test_the_first_message_bounds_a_unary_call_no_more_than_it_says(self) -> None:
        with a_world(once, policies=[timeout(first_byte=0.05, idle=0.05)]) as world:
            world.servers[0].infer = lambda request, context: (time.sleep(0.2), echo(request))[1]
            assert world.plane.stub().ModelInfer(request_of("m"), timeout=5).id == ""


def test_policies_see_each_request_of_a_stream() -> None:
    """Each model's route has its own; what one of them refuses is told in its place, and the rest goes on."""
    with a_world(once, once, policies=[fallback("unavailable")], model="m") as world:
        config = world.plane.config
        routes = (*config.routes, a_route("other", pool="q", policies=(timeout(first_byte=5.0),)))
        world.plane.apply(config=Config(listen=config.listen, pools=config.pools, routes=routes))
        world.plane.apply(states={"p": tuple(a_state(each.address, live=False) for each in world.servers)})
        world.spare.stream = stream_of(once)
        talk = Talk(world.plane)
        for number in range(4):
            talk.say(request_of("m", [number], id=f"m{number}"), request_of("other", [number], id=f"o{number}"))
        talk.say(request_of("nobody", id="n"))
        responses = talk.rest()
        assert len(responses) == 9
        assert world.plane.counted("penstock_fallbacks_total") == {("m", "unavailable"): 4}


def test_classification_of_text_is_refused_where_a_stream_is_taken_to() -> None:
    with a_world(full, policies=[fallback("overloaded")]) as world:
        world.servers[0].models["m"] = Model(outputs=[("OUT", "FP32", (1,))])
        world.spare.models["m"] = Model(outputs=[("OUT", "BYTES", (1,))])
        request = request_of("m", id="x")
        request.outputs.add(name="OUT").parameters["classification"].int64_param = 1
        talk = Talk(world.plane)
        talk.say(request)
        assert [said(each) for each in talk.rest()] == [FULL]
        world.servers[0].infer = lambda request, context: context.abort(Status.UNAVAILABLE, FULL)
        with pytest.raises(grpc.RpcError) as caught:
            world.plane.stub().ModelInfer(request, timeout=5)
        assert caught.value.details() == FULL
        assert [world.spare.called("streamed"), world.spare.called("ModelInfer")] == [[], []]
