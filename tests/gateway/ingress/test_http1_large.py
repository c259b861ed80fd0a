"""Large bodies go straight into place: whole, bounded, on time, and without a byte of what comes after them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

import pytest

from config.schema import Deadlines, Limits
from gateway.ingress.http1_large import LARGE
from tests.support.data_plane import PlaneThread, a_listener, a_plane
from tests.support.deadline import until
from tests.support.model_server import ModelServer, model_server
from tests.support.raw_client import Answer, RawClient

COUNT = 200_000
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


def parts(first: int = 0, count: int = COUNT) -> tuple[bytes, bytes]:
    """Head and body of a request with a binary tensor of ascending numbers."""
    tensor = {"name": "INPUT0", "datatype": "INT32", "shape": [count], "parameters": {"binary_data_size": 4 * count}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = text + struct.pack(f"<{count}i", *range(first, first + count))
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nInference-Header-Content-Length: %d\r\n" % len(text)
    return head + b"Content-Length: %d\r\n\r\n" % len(body), body


def right(answer: Answer, first: int = 0, count: int = COUNT) -> bool:
    assert answer.status == 200, answer.body[:300]
    tail = answer.body[int(answer.headers["inference-header-content-length"]) :]
    return tail == struct.pack(f"<{count}i", *range(first, first + count))


@pytest.mark.parametrize("cut", [0, 1, 1000, LARGE, LARGE + 1, 4 * COUNT - 1])
def test_each_cut_of_head_and_body(plane: PlaneThread, cut: int) -> None:
    with RawClient(plane.address) as client:
        for first in (0, 7, 9):  # the second time the head is known
            head, body = parts(first)
            client.send(head + body[:cut])
            client.send(body[cut:])
            assert right(client.answer(), first)
    plane.wait_idle()


def test_the_next_requests_are_not_swallowed(plane: PlaneThread) -> None:
    head, body = parts()
    with RawClient(plane.address) as client:
        for _ in range(3):
            client.send(head + body + LIVE + head + body + LIVE)
            assert right(client.answer())
            assert client.answer().status == 200
            assert right(client.answer())
            assert client.answer().status == 200


def test_a_client_that_goes_in_the_middle_leaves_nothing(plane: PlaneThread) -> None:
    head, body = parts()
    client = RawClient(plane.address)
    client.send(head + body[:300_000])
    until(lambda: plane.listener.buffered >= 300_000, 5)
    client.close()
    plane.wait_idle()


def test_a_body_that_stops_is_too_late(server: ModelServer) -> None:
    with a_plane(server.address, listen=[a_listener(deadlines=Deadlines(body=0.3))]) as plane:
        head, body = parts()
        with RawClient(plane.address) as client:
            client.send(head + body[:300_000])
            assert client.answer().status == 408
            assert client.closed()
        plane.wait_idle()


def test_all_bodies_together_are_bounded(server: ModelServer) -> None:
    with a_plane(server.address, listen=[a_listener(limits=Limits(buffered_bytes=500_000))]) as plane:
        head, body = parts()
        with RawClient(plane.address) as client:
            client.send_what_fits([head, body])
            assert client.answer().status == 503
        plane.wait_idle()
        small = parts(count=20_000)
        with RawClient(plane.address) as client:
            assert right(client.ask(b"".join(small)), count=20_000)


def test_an_answer_under_way_comes_first(plane: PlaneThread) -> None:
    head, body = parts()
    with RawClient(plane.address) as client:
        client.send(LIVE + head + body[:500_000])
        assert client.answer().status == 200
        client.send(body[500_000:])
        assert right(client.answer())
