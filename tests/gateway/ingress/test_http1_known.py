"""A head that repeats is read once, and means each time what it meant the first time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from config.schema import Limits
from gateway.ingress.http1_head import CHUNKED, Message
from gateway.ingress.http1_known import ENTRIES, LARGEST, KnownHeads
from tests.support.data_plane import PlaneThread, a_listener, a_plane
from tests.support.model_server import ModelServer, model_server
from tests.support.raw_client import RawClient

HEAD = b"POST / HTTP/1.1\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer) -> Iterator[PlaneThread]:
    with a_plane(server.address) as running:
        yield running


def a_message(length: int | None = 3, old: bool = False, **headers: bytes) -> Message:
    message = Message(b"POST", b"/", {name.encode(): value for name, value in headers.items()}, old)
    message.length = length
    return message


def document(*numbers: int) -> bytes:
    tensor = {"name": "INPUT0", "datatype": "INT32", "shape": [len(numbers)], "data": numbers}
    return json.dumps({"inputs": [tensor]}).encode()


def request(*numbers: int, more: bytes = b"") -> bytes:
    body = document(*numbers)
    return b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (more, len(body), body)


def numbers(body: bytes) -> list[int]:
    data: list[int] = json.loads(body)["outputs"][0]["data"]
    return data


class TestKnownHeads:
    def test_equal_heads_are_one_and_share_what_is_found_out(self) -> None:
        heads = KnownHeads()
        known = heads.learn(HEAD, a_message())
        assert known is not None
        assert heads.learn(bytes(bytearray(HEAD)), a_message()) is known
        first, second = known.message(), known.message()
        assert first is not second
        assert first.memo is second.memo
        assert (first.keep, first.length, known.size, known.length) == (True, 3, len(HEAD), 3)

    @pytest.mark.parametrize(
        ("head", "message"),
        [
            (HEAD, a_message(length=CHUNKED)),
            (HEAD, a_message(old=True)),
            (HEAD, a_message(expect=b"100-continue")),
            (b"POST / HTTP/1.1\r\n", a_message()),
            (b"x" * LARGEST + b"\r\n\r\n", a_message()),
        ],
    )
    def test_what_is_not_kept(self, head: bytes, message: Message) -> None:
        assert KnownHeads().learn(head, message) is None

    def test_they_are_bounded(self) -> None:
        heads = KnownHeads()
        for number in range(3 * ENTRIES):
            heads.learn(b"%d\r\n\r\n" % number, a_message())
        assert len(heads._heads) <= ENTRIES


class TestOnAConnection:
    def test_bodies_differ_where_heads_do_not(self, plane: PlaneThread) -> None:
        with RawClient(plane.address) as client:
            for number in range(5):
                assert numbers(client.ask(request(number, 1)).body) == [number, 1]

    def test_other_heads_in_between(self, plane: PlaneThread) -> None:
        with RawClient(plane.address) as client:
            for number in (1, 22, 3, 44, 5):
                assert numbers(client.ask(request(number)).body) == [number]
                assert client.ask(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n").status == 200

    def test_several_in_one_segment(self, plane: PlaneThread) -> None:
        with RawClient(plane.address) as client:
            client.ask(request(1))
            client.send(request(2) + request(3) + request(4))
            assert [numbers(client.answer().body) for _ in range(3)] == [[2], [3], [4]]

    def test_a_body_in_pieces(self, plane: PlaneThread) -> None:
        with RawClient(plane.address) as client:
            client.ask(request(1))
            for cut in (1, 20, len(request(2)) - 1):
                client.send(request(2)[:cut])
                client.send(request(2)[cut:])
                assert numbers(client.answer().body) == [2]

    def test_the_last_request_of_a_connection_closes_it(self, server: ModelServer) -> None:
        listener = a_listener(limits=Limits(requests_per_connection=3))
        with a_plane(server.address, listen=[listener]) as plane, RawClient(plane.address) as client:
            answers = [client.ask(request(number)) for number in range(3)]
            assert [answer.headers.get("connection") for answer in answers] == [None, None, "close"]
            assert client.closed()

    def test_metadata_is_that_of_the_head(self, plane: PlaneThread, server: ModelServer) -> None:
        with RawClient(plane.address) as client:
            for trace in (b"a", b"b", b"a", b"b"):
                client.ask(request(1, more=b"x-request-id: %b\r\n" % trace))
                assert server.calls[-1][2]["x-request-id"] == trace.decode()

    def test_all_is_given_back(self, plane: PlaneThread) -> None:
        with RawClient(plane.address) as client:
            for _ in range(10):
                client.ask(request(1))
        plane.wait_idle()
