"""Clients that start work at a gateway and then go away, each in its own way.

Each is a context manager that sends its request and gives the function that makes the client go.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc
import numpy as np

from tests.support.h2_requests import H2Client
from tests.support.load import CHANNEL_OPTIONS
from tests.support.messages import infer_request, stub
from transcoding.grpc_framing import encode_message

Leaver = Callable[[int], AbstractContextManager[Callable[[], Any]]]

LONG = 30.0
SLOW, EVENTS = "/v2/models/slow/infer", "/v2/models/repeat_int32/generate_stream"
SLOW_JSON = json.dumps({"inputs": [{"name": "INPUT0", "shape": [1], "datatype": "FP32", "data": [LONG]}]}).encode()
EVENTS_JSON = json.dumps({"IN": [7] * 2000, "DELAY": [10] * 2000, "WAIT": [0]}).encode()
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
MODEL_STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
GRPC = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]


def slow(seconds: float = LONG) -> Any:
    """A request that sleeps."""
    return infer_request("slow", INPUT0=np.array([seconds], np.float32))


def repeat(count: int = 2000, delay_ms: int = 10) -> Any:
    """A request with `count` responses."""
    delays, wait = np.full(count, delay_ms, np.uint32), np.zeros(1, np.uint32)
    return infer_request("repeat_int32", "many", IN=np.full(count, 7, np.int32), DELAY=delays, WAIT=wait)


@contextmanager
def http1(port: int, path: str = SLOW, body: bytes = SLOW_JSON, length: int | None = None) -> Iterator[socket.socket]:
    """A request on a socket, whose body may be announced longer than it is."""
    head = f"POST {path} HTTP/1.1\r\nHost: gw\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head.encode() + body)
        yield client


@contextmanager
def channel_to(port: int) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
        yield channel


# One request at the model


@contextmanager
def http1_close(port: int) -> Iterator[Callable[[], Any]]:
    with http1(port) as client:
        yield client.close


@contextmanager
def http1_half_close(port: int) -> Iterator[Callable[[], Any]]:
    with http1(port) as client:
        yield lambda: client.shutdown(socket.SHUT_WR)


@contextmanager
def http1_reset(port: int) -> Iterator[Callable[[], Any]]:
    with http1(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        yield client.close


@contextmanager
def http2_reset(port: int) -> Iterator[Callable[[], Any]]:
    with H2Client(port) as client:
        stream = client.request(SLOW, SLOW_JSON)
        yield lambda: client.reset(stream)


@contextmanager
def http2_close(port: int) -> Iterator[Callable[[], Any]]:
    with H2Client(port) as client:
        client.request(SLOW, SLOW_JSON)
        yield client.close


@contextmanager
def grpc_reset(port: int) -> Iterator[Callable[[], Any]]:
    with H2Client(port) as client:
        stream = client.request(MODEL_INFER, encode_message((slow().SerializeToString(),)), GRPC)
        yield lambda: client.reset(stream)


@contextmanager
def grpc_cancel(port: int) -> Iterator[Callable[[], Any]]:
    with channel_to(port) as channel:
        yield stub(channel).ModelInfer.future(slow()).cancel


@contextmanager
def grpc_channel_close(port: int) -> Iterator[Callable[[], Any]]:
    with channel_to(port) as channel:
        call = stub(channel).ModelInfer.future(slow())
        yield channel.close
        assert call.code() is grpc.StatusCode.CANCELLED


@contextmanager
def grpc_deadline(port: int) -> Iterator[Callable[[], Any]]:
    """Goes when its deadline comes."""
    with channel_to(port) as channel:
        call = stub(channel).ModelInfer.future(slow(), timeout=0.5)
        yield call.exception
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED, call.details()


@contextmanager
def grpc_stream_cancel(port: int) -> Iterator[Callable[[], Any]]:
    """A stream whose client still sends."""
    done = threading.Event()

    def requests() -> Iterator[Any]:
        yield slow()
        done.wait(LONG)

    with channel_to(port) as channel:
        yield stub(channel).ModelStreamInfer(requests()).cancel
        done.set()


ONE_REQUEST: tuple[Leaver, ...] = (
    http1_close,
    http1_half_close,
    http1_reset,
    http2_reset,
    http2_close,
    grpc_reset,
    grpc_cancel,
    grpc_channel_close,
    grpc_deadline,
    grpc_stream_cancel,
)


# In the middle of many responses


@contextmanager
def http1_events(port: int) -> Iterator[Callable[[], Any]]:
    with http1(port, EVENTS, EVENTS_JSON) as client:
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        yield client.close


@contextmanager
def http2_events(port: int) -> Iterator[Callable[[], Any]]:
    with H2Client(port) as client:
        stream = client.request(EVENTS, EVENTS_JSON)
        client.pump(lambda: b"data: " in client.peer.streams[stream].body)
        yield lambda: client.reset(stream)


@contextmanager
def grpc_responses(port: int) -> Iterator[Callable[[], Any]]:
    with channel_to(port) as channel:
        call = stub(channel).ModelStreamInfer(iter([repeat()]))
        assert not next(call).error_message
        yield call.cancel


@contextmanager
def grpc_responses_reset(port: int) -> Iterator[Callable[[], Any]]:
    with H2Client(port) as client:
        message = encode_message((repeat().SerializeToString(),))
        stream = client.request(MODEL_STREAM_INFER, message, GRPC, end=False)
        client.pump(lambda: len(client.peer.streams[stream].body) > 0)
        yield lambda: client.reset(stream)


@contextmanager
def grpc_responses_unread(port: int) -> Iterator[Callable[[], Any]]:
    """The client gives a window of 1 KiB and no more, so that responses wait at the gateway, and at Triton."""
    with H2Client(port, window=1024) as client:
        client.peer.acknowledges = False
        stream = client.request(MODEL_STREAM_INFER, encode_message((repeat(60_000, 0).SerializeToString(),)), GRPC)
        client.pump(lambda: len(client.peer.streams[stream].body) >= 1024)
        yield lambda: client.reset(stream)


@contextmanager
def http1_events_unread(port: int) -> Iterator[Callable[[], Any]]:
    """The client reads nothing until the gateway can write no more."""
    body = json.dumps({"IN": [7] * 60_000, "DELAY": [0] * 60_000, "WAIT": [0]}).encode()
    with http1(port, EVENTS, body) as client:
        yield client.close


MANY_RESPONSES: tuple[Leaver, ...] = (
    http1_events,
    http2_events,
    grpc_responses,
    grpc_responses_reset,
    grpc_responses_unread,
    http1_events_unread,
)
