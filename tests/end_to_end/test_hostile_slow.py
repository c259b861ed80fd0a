"""Clients that take their time to say something, or only take a place: S1 to S9 of the adversarial suite, but S6.

Each is given up at its deadline, whatever it waits for, while somebody else notices nothing.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.deadline import until
from tests.support.hostile import BODY_SECONDS, HANDSHAKE, HEADER, IDLE, MIB, SCALE, SLACK, HostileGateway
from tests.support.raw_client import BODY, INFER, RawClient, get, post
from tests.support.rude_http2 import RudeHttp2, data, grpc_headers, headers, message, request_headers
from transcoding.http2 import frames as fr

pytestmark = pytest.mark.usefixtures("bystander")

CONNECTIONS = 100 * SCALE

HEAD = get(INFER, f"Content-Length: {len(BODY)}", method="POST")


class Dripping:
    """Connections that say something now and then, from one thread, until all are closed by the other end."""

    def __init__(self, clients: list[RawClient], drops: Iterator[bytes]) -> None:
        self.clients = clients
        self.answers: list[bytes] = []
        self.seconds = 0.0
        self._open = {client.socket: client for client in clients}
        self._drops = drops

    def run(self, within: float) -> None:
        """Drip until the last one is closed. Raises AssertionError when that takes longer than `within` seconds."""
        started = time.monotonic()
        received = {client.socket: b"" for client in self.clients}
        for client in self.clients:
            client.socket.setblocking(False)
        while self._open:
            assert time.monotonic() - started < within, f"{len(self._open)} connections are still open"
            drop = next(self._drops)
            for sock in list(self._open):
                with contextlib.suppress(BlockingIOError):
                    try:
                        if drop:
                            sock.send(drop)
                        piece = sock.recv(1 << 16)
                    except ConnectionError:
                        piece = b""
                    received[sock] += piece
                    if not piece:
                        del self._open[sock]
            time.sleep(0.02)
        self.seconds = time.monotonic() - started
        self.answers = list(received.values())


def each_byte(text: bytes) -> Iterator[bytes]:
    """A byte of the text per drop, and then nothing for ever."""
    for index in range(len(text)):
        yield text[index : index + 1]
    while True:
        yield b""


def for_ever(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


SLOW: dict[str, tuple[bytes, Callable[[], Iterator[bytes]], float, bytes]] = {
    "S1 says nothing": (b"", lambda: for_ever(b""), HEADER, b""),
    "S2 a request line in pieces": (b"", lambda: each_byte(get("/v2/" + "a" * 8000)), HEADER, b"408"),
    "S3 one field after the other": (b"GET / HTTP/1.1\r\n", lambda: for_ever(b"X: y\r\n"), HEADER, b"408"),
    "S4 a body in pieces": (HEAD, lambda: each_byte(BODY[:-1]), BODY_SECONDS, b"408"),
    "S5 a body that does not come": (HEAD, lambda: for_ever(b""), BODY_SECONDS, b"408"),
    "S5 half a body": (HEAD + BODY[:40], lambda: for_ever(b""), BODY_SECONDS, b"408"),
    "a chunk that does not end": (
        get(INFER, "Transfer-Encoding: chunked", method="POST") + b"1000\r\n",
        lambda: for_ever(b"a"),
        BODY_SECONDS,
        b"408",
    ),
    "chunk extensions in pieces": (
        get(INFER, "Transfer-Encoding: chunked", method="POST") + b"1;",
        lambda: for_ever(b"a"),
        BODY_SECONDS,
        b"408",
    ),
    "empty lines": (b"", lambda: for_ever(b"\r\n"), HEADER, b""),
    "half an HTTP/2 preface": (b"", lambda: each_byte(fr.PREFACE[:-1]), HEADER, b""),
    "an HTTP/2 preface and no more": (fr.PREFACE, lambda: for_ever(b""), HEADER, b"\x07"),
    "idle after a request": (get(), lambda: for_ever(b""), IDLE, b"200"),
    "empty lines after a request": (get(), lambda: for_ever(b"\r\n"), IDLE, b"200"),
    "a second request in pieces": (get(), lambda: each_byte(get("/v2/" + "a" * 8000)), HEADER, b"408"),
    "a second request that came in part": (get() + b"GET /", lambda: for_ever(b""), HEADER, b"408"),
}


@pytest.mark.parametrize("case", SLOW)
def test_slow_clients_are_given_up(hostile: HostileGateway, case: str) -> None:
    first, drops, deadline, answer = SLOW[case]
    with hostile.memory_within(CONNECTIONS * 40_000), hostile.crowd(CONNECTIONS, "hasty") as clients:
        for client in clients:
            client.send(first)
        dripping = Dripping(clients, drops())
        dripping.run(deadline + SLACK)
    assert all(answer in each for each in dripping.answers), set(dripping.answers)
    assert dripping.seconds >= deadline * 0.5


def test_a_body_that_comes_steadily_has_all_the_time_it_needs(hostile: HostileGateway) -> None:
    """Much longer than the deadline, as long as it brings 16 KiB a second."""
    piece, pieces = b" " * 4096, 20
    with hostile.connect("hasty") as client:
        client.send(get(INFER, f"Content-Length: {len(BODY) + len(piece) * pieces}", method="POST"))
        for _ in range(pieces):
            time.sleep(0.08)
            client.send(piece)
        assert client.ask(BODY).status == 200


def test_a_body_sent_fast_buys_no_time_to_sit_on_it(hostile: HostileGateway) -> None:
    size = 8 * MIB
    with hostile.connect("hasty") as client:
        client.send(get(INFER, f"Content-Length: {size}", method="POST") + bytes(size - 1))
        started = time.monotonic()
        assert client.answer().status == 408
        assert time.monotonic() - started < BODY_SECONDS + SLACK


def test_s7_a_half_closed_connection_is_taken_for_gone(hostile: HostileGateway) -> None:
    hostile.backend.release.clear()
    cancelled = hostile.backend.cancelled
    with hostile.connect() as client:
        client.send(post(path="/v2/models/slow/infer"))
        until(lambda: hostile.backend.active > 0)
        client.socket.shutdown(socket.SHUT_WR)
        until(lambda: hostile.backend.cancelled > cancelled)
        assert client.rest() == b""
    hostile.backend.release.set()


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_client_that_leaves_has_its_work_cancelled(hostile: HostileGateway, leave: str) -> None:
    hostile.backend.release.clear()
    cancelled = hostile.backend.cancelled
    with hostile.crowd(10) as clients:
        for client in clients:
            client.send(post(path="/v2/models/slow/infer"))
        until(lambda: hostile.backend.active >= 10)
        for client in clients:
            getattr(client, leave)()
        until(lambda: hostile.backend.cancelled >= cancelled + 10)
    hostile.backend.release.set()


def test_s8_connections_have_a_cap_for_all_and_for_one_address(hostile: HostileGateway) -> None:
    """The 21st of an address is closed at once; another address has its own; nobody has more than 40 together."""
    refused = hostile.metric("penstock_refused_total")
    address = hostile.addresses["few"]

    def connect(source: str) -> RawClient:
        client = RawClient.__new__(RawClient)
        client.socket = socket.create_connection(address.split(":"), 10, source_address=(source, 0))
        client._unread = b""
        return client

    clients = [connect(f"127.0.0.{1 + index // 25}") for index in range(75)]
    time.sleep(0.1)
    served = []
    for client in clients:
        with contextlib.suppress(OSError, AssertionError):
            served.append(client.ask(get()).status)
    assert served == [200] * 40
    assert hostile.gateway.admin("/healthz")[0] == 200
    for client in clients:
        client.close()
    until(lambda: hostile.metric("penstock_refused_total") == refused + 35)
    with hostile.connect("few") as client:
        assert client.ask(get()).status == 200


def test_idle_connections_cost_little(hostile: HostileGateway) -> None:
    count = 500 * SCALE
    with hostile.memory_within(count * 12_000 + 2 * MIB), hostile.crowd(count) as clients:
        for client in clients:
            assert client.ask(get()).status == 200
        until(lambda: hostile.metric('penstock_connections{listener="patient"') >= count)


@pytest.mark.parametrize(
    "first", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["nothing", "half a hello"]
)
def test_s9_tls_handshakes_that_stall_are_closed_and_counted(hostile: HostileGateway, first: bytes) -> None:
    """They take places like other connections: beyond the cap nobody gets in, and the places are free again."""
    with hostile.crowd(10, "tls") as clients:
        for client in clients:
            client.send(first)
        time.sleep(0.1)
        with hostile.connect("tls") as refused:
            assert refused.closed(HANDSHAKE / 2)
        started = time.monotonic()
        assert all(client.closed(HANDSHAKE + SLACK) for client in clients)
        assert time.monotonic() - started >= HANDSHAKE * 0.5

    def served() -> bool:
        with hostile.tls("http/1.1") as secured:
            secured.sendall(get())
            return secured.recv(1000).startswith(b"HTTP/1.1 200")

    assert until(served)


def test_s9_garbage_instead_of_a_handshake(hostile: HostileGateway) -> None:
    for garbage in (get(), bytes(100), b"\x16\x03\x01\xff\xff" + bytes(1000)):
        with hostile.connect("tls") as client:
            client.send(garbage)
            assert client.closed(HANDSHAKE + SLACK)


def test_http2_over_tls_by_alpn(hostile: HostileGateway) -> None:
    with hostile.tls("h2", "http/1.1") as secured:
        assert secured.selected_alpn_protocol() == "h2"
        client = RudeHttp2.over(secured)
        client.send(headers(1, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(1).status == 200


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (headers(1, request_headers())[:20], 11),
        (fr.frame(fr.HEADERS, 0, 1, b"\x82"), 11),
        (b"\0\0", 11),
        (data(1, bytes(100))[:50], 11),
    ],
    ids=["half a HEADERS", "a block without its end", "half a frame head", "half a DATA"],
)
def test_http2_frames_that_do_not_end(hostile: HostileGateway, first: bytes, code: int) -> None:
    with hostile.http2("hasty") as client:
        client.send(headers(1, request_headers()) if first.startswith(b"\0\0d\0") else b"")
        client.send(first)
        started = time.monotonic()
        assert client.goaway_code() in (code, 0)
        assert HEADER * 0.5 < time.monotonic() - started < HEADER + BODY_SECONDS + SLACK


@pytest.mark.parametrize("fields", [request_headers(), grpc_headers()], ids=["rest", "grpc"])
def test_http2_bodies_that_do_not_come(hostile: HostileGateway, fields: list[tuple[bytes, bytes]]) -> None:
    """Only their streams end; the connection serves on."""
    with hostile.http2("hasty") as client:
        for stream in range(1, 40, 2):
            client.send(headers(stream, fields) + (data(stream, b"\0\0\0\1\0ab") if stream % 4 == 1 else b""))
        for stream in range(1, 40, 2):
            outcome = client.finish(stream)
            assert outcome.headers[0][":status"] == "408" or outcome.grpc_status == 4
        client.send(headers(41, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(41).status == 200


def test_a_streaming_call_may_be_silent_but_not_in_the_middle_of_a_message(hostile: HostileGateway) -> None:
    with hostile.http2("hasty") as client:
        client.send(headers(1, grpc_headers("ModelStreamInfer")))
        client.send(headers(3, grpc_headers("ModelStreamInfer")) + data(3, message(bytes(10000))[:500]))
        assert client.finish(3).grpc_status == 4
        time.sleep(max(0.0, IDLE * 1.5 - BODY_SECONDS))
        client.send(data(1, b"", True))
        assert client.finish(1).grpc_status == 0


def test_idle_http2_connections_are_closed_in_two_steps(hostile: HostileGateway) -> None:
    with hostile.http2("hasty") as client:
        client.send(headers(1, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(1).status == 200
        started = time.monotonic()
        client.finish_all()
        assert IDLE * 0.5 < time.monotonic() - started < IDLE + SLACK
        assert client.goaways == [(0, 2**31 - 1), (0, 1)]


def test_http2_pings_do_not_keep_a_connection(hostile: HostileGateway) -> None:
    with hostile.http2("hasty") as client:
        ended = threading.Event()

        def ping() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.05):
                    client.send(fr.ping_frame(b"12345678"))

        pinger = threading.Thread(target=ping)
        pinger.start()
        started = time.monotonic()
        client.finish_all()
        ended.set()
        pinger.join()
        assert time.monotonic() - started < IDLE + SLACK


def test_a_counted_http2_connection_ends_without_losing_what_was_sent(hostile: HostileGateway) -> None:
    with hostile.http2("counted", answer_pings=False) as client:
        for stream in range(1, 12, 2):
            client.send(headers(stream, request_headers("/v2/health/live", method="GET"), True))
        assert [client.finish(stream).status for stream in range(1, 12, 2)] == [200] * 6
        client.finish_all()
        assert client.goaways == [(0, 2**31 - 1), (0, 11)]
