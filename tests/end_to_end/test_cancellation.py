"""A client that goes away takes its work at Triton with it, soon, and leaves nothing behind in the gateway."""

from __future__ import annotations

import random
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from deploy.triton import Triton
from tests.support.counters import assert_nothing_held, value
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.h2_requests import H2Client
from tests.support.leavers import (
    GRPC,
    MANY_RESPONSES,
    MODEL_INFER,
    ONE_REQUEST,
    SLOW,
    Leaver,
    http1,
    repeat,
    slow,
)
from tests.support.load import CHANNEL_OPTIONS
from tests.support.messages import infer_request, stub
from tests.support.model_server import Model, ints_reply, model_server, streamed
from tests.support.triton import start_triton
from transcoding.grpc_framing import encode_message

pytestmark = pytest.mark.triton

MODELS = ("slow", "repeat_int32", "id_fp32", "simple")
ROUNDS = 5
BOUND = 1.0
"""Seconds from a client's end to the end of its work, on a machine that is busy with other things; 0.1 is the aim."""


class Counts:
    """What the models of a Triton say about their requests, asked at the Triton itself: (cancelled, running)."""

    def __init__(self, triton: Triton) -> None:
        self._stub = stub(grpc.insecure_channel(triton.grpc_address, options=CHANNEL_OPTIONS))

    def slow(self) -> tuple[int, int]:
        reply = self._stub.ModelInfer(slow(0), timeout=10)
        cancelled, running = (int(np.frombuffer(raw, np.int32)[0]) for raw in reply.raw_output_contents[1:3])
        return cancelled, running

    def repeat(self) -> tuple[int, int]:
        request = repeat(1)
        request.parameters["STATE"].int64_param = 1
        (reply,) = self._stub.ModelStreamInfer(iter([request]), timeout=10)
        cancelled, running = (int(np.frombuffer(raw, np.int32)[0]) for raw in reply.infer_response.raw_output_contents)
        return cancelled, running


@pytest.fixture(scope="module")
def triton() -> Triton:
    return start_triton(MODELS)


@pytest.fixture(scope="module")
def counts(triton: Triton) -> Counts:
    return Counts(triton)


@pytest.fixture(scope="module")
def gateway(triton: Triton) -> Iterator[Gateway]:
    with Gateway([triton.grpc_address], workers=2) as gateway:
        yield gateway


def until_noticed(count: Callable[[], tuple[int, int]], client: Leaver, port: int) -> float:
    """Seconds from a client's end until the model has noticed."""
    cancelled, running = count()
    assert running == 0
    with client(port) as leave:
        until(lambda: count()[1] == 1)
        leave()
        began = time.monotonic()
        while count()[0] == cancelled:
            assert time.monotonic() < began + 10, "the work went on"
        return time.monotonic() - began


def report(client: Leaver, times: list[float]) -> None:
    median, most = statistics.median(times) * 1000, max(times) * 1000
    print(f"\n{client.__name__}: cancelled at the model after {median:.0f} ms (median), {most:.0f} ms (most)")


@pytest.mark.parametrize("client", ONE_REQUEST, ids=lambda client: client.__name__)
def test_work_ends_with_its_client(client: Leaver, gateway: Gateway, counts: Counts) -> None:
    times = [until_noticed(counts.slow, client, gateway.port) for _ in range(ROUNDS)]
    report(client, times)
    assert max(times) < BOUND
    assert_nothing_held(gateway)


@pytest.mark.parametrize("client", MANY_RESPONSES, ids=lambda client: client.__name__)
def test_a_stream_ends_with_its_client(client: Leaver, gateway: Gateway, counts: Counts) -> None:
    times = [until_noticed(counts.repeat, client, gateway.port) for _ in range(ROUNDS)]
    report(client, times)
    assert max(times) < BOUND
    assert_nothing_held(gateway)


# Clients that go before their request has arrived, or while their answer waits for them


def assert_no_work(counts: Counts) -> None:
    """Nothing runs at the models."""
    until(lambda: counts.slow()[1] == 0 and counts.repeat()[1] == 0)


def test_half_a_request_is_dropped_with_its_client(gateway: Gateway, counts: Counts) -> None:
    before = value(gateway, "penstock_requests_total")
    piece = b"x" * 16_000
    for _ in range(10):
        with http1(gateway.port, SLOW, piece, length=10_000_000), H2Client(gateway.port) as client:
            streams = [
                client.request(SLOW, piece, end=False),
                client.request(MODEL_INFER, b"\0\0\1\0\0" + piece, GRPC, end=False),
            ]
            client.peer.connection.ping(b"received")
            client.flush()
            client.pump(lambda: client.peer.pongs > 0)
            for stream in streams:
                client.reset(stream)
    assert_nothing_held(gateway)
    assert value(gateway, "penstock_requests_total") == before


def large(size: int = 4_000_000) -> Any:
    return infer_request("id_fp32", INPUT0=np.zeros(size, np.float32))


def test_an_answer_that_waits_for_a_window_is_dropped_with_its_client(gateway: Gateway) -> None:
    """16 MB come back from Triton, and the client has room for 64 KiB."""
    message = encode_message((large().SerializeToString(),))
    for resets in (True, True, False, False):
        with H2Client(gateway.port) as client:
            client.peer.acknowledges = False
            seen = client.peer.streams[stream := client.request(MODEL_INFER, message, GRPC)]
            client.pump(lambda seen=seen: len(seen.body) >= 60_000)  # type: ignore[misc]
            if resets:
                client.reset(stream)
    assert_nothing_held(gateway)


def test_an_answer_that_waits_for_a_reader_is_dropped_with_its_client(gateway: Gateway) -> None:
    """The client's kernel takes some of 16 MB, then the gateway cannot write."""
    raw = np.zeros(4_000_000, np.float32).tobytes()
    header = (
        b'{"inputs":[{"name":"INPUT0","shape":[4000000],"datatype":"FP32","parameters":{"binary_data_size":16000000}}],'
        b'"outputs":[{"name":"OUTPUT0","parameters":{"binary_data":true}}]}'
    )
    sent = b"Inference-Header-Content-Length: %d\r\n\r\n" % len(header) + header + raw
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
            size = len(header) + len(raw)
            client.sendall(
                b"POST /v2/models/id_fp32/infer HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n" % size + sent
            )
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
    assert_nothing_held(gateway)


def storm(port: int, kinds: Sequence[Leaver], at_once: int = 32) -> None:
    """Each kind of client many times at once, each gone after its own while."""
    rng = random.Random(7)
    clients = [*kinds] * 10
    rng.shuffle(clients)

    def come_and_go(client: Leaver) -> None:
        with client(port) as leave:
            time.sleep(rng.random() * 0.2)
            leave()

    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(come_and_go, clients))


def test_a_storm_of_clients_that_go_leaves_nothing(gateway: Gateway, counts: Counts) -> None:
    storm(gateway.port, ONE_REQUEST)
    assert_no_work(counts)
    assert_nothing_held(gateway)


def test_a_storm_of_clients_that_leave_streams_leaves_nothing() -> None:
    """Triton 2.51 crashes when a stream is cancelled while it writes (its issue 7368), which a storm makes likely."""

    def responses(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            while context.is_active():
                yield streamed(ints_reply(request, range(60)))
                time.sleep(0.01)

    inputs = (("IN", "INT32", (-1,)), ("DELAY", "UINT32", (-1,)), ("WAIT", "UINT32", (1,)))
    with model_server(stream=responses) as server:
        server.models = {"repeat_int32": Model(inputs, (("OUT", "INT32", (1,)),), decoupled=True)}
        with Gateway([server.address], workers=2) as gateway:
            storm(gateway.port, MANY_RESPONSES, at_once=16)
            assert_nothing_held(gateway)
