"""A client of ModelStreamInfer, and models to talk to: what a stream of `model_server` may do."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.support.data_plane import PlaneThread
from tests.support.deadline import until
from tests.support.model_server import (
    echo,
    numbers_of,
    refusal,
    repeat,
    streamed,
)

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


def stands_still(made: list[Any]) -> bool:
    return stands_still_at(lambda: len(made))


def stands_still_at(probe: Callable[[], float]) -> bool:
    before = probe()
    time.sleep(0.5)
    return before > 0 and probe() == before
