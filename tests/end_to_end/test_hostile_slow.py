"""Clients that take their time, or a place: S1 to S9 of the adversarial suite.

Each is given up at its deadline, whatever it waits for, while somebody else notices nothing.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.deadline import until
from tests.support.hostile import (
    BODY_SECONDS,
    HANDSHAKE,
    HEADER,
    IDLE,
    MIB,
    SCALE,
    STALL,
    HostileGateway,
)
from tests.support.raw_client import BODY, INFER, RawClient, get, post
from tests.support.rude_http2 import LARGE_WINDOW, RudeHttp2, data, grpc_headers, headers, message, request_headers
from transcoding.http2 import frames as fr

pytestmark = pytest.mark.usefixtures("bystander")

CONNECTIONS = 100 * SCALE
SLACK = 4.0
"""Seconds that a deadline may be late on a machine that has other things to do."""

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


def test_s6_a_slow_reader_of_a_large_answer_is_closed(hostile: HostileGateway) -> None:
    body = BODY[:-1] + b',"parameters":{"size":10000000}}'
    with hostile.connect("hasty", receive_buffer=4096) as client:
        client.send(post(body, "/v2/models/big/infer"))
        assert client.socket.recv(1000).startswith(b"HTTP/1.1 200")
        time.sleep(STALL * 2 + 0.3)
        received = len(client.rest())
        assert received < 5_000_000  # what was in the kernel's buffers


def test_s6_a_slow_reader_of_a_stream_is_closed_and_the_stream_cancelled(hostile: HostileGateway) -> None:
    body = b'{"IN":[1],"parameters":{"count":100000,"size":1000}}'
    cancelled = hostile.backend.cancelled
    with hostile.memory_within(8 * MIB), hostile.connect("hasty", receive_buffer=4096) as client:
        client.send(post(body, "/v2/models/stream/generate_stream"))
        assert client.socket.recv(1000).startswith(b"HTTP/1.1 200")
        until(lambda: hostile.backend.cancelled > cancelled, STALL * 3 + SLACK)


def test_a_reader_that_is_slow_but_reads_is_served(hostile: HostileGateway) -> None:
    body = BODY[:-1] + b',"parameters":{"size":1000000}}'
    with hostile.connect("hasty", receive_buffer=4096) as client:
        client.send(post(body, "/v2/models/big/infer"))
        received, started = b"", time.monotonic()
        while len(received) < 200_000:
            received += client.socket.recv(10_000)
            time.sleep(0.05)
        assert time.monotonic() - started > STALL
        received += client.rest() if client.closed(0) else b""
        assert received.startswith(b"HTTP/1.1 200")


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


@pytest.fixture(scope="module")
def trust(hostile: HostileGateway) -> ssl.SSLContext:
    return hostile.trust()


def tls(hostile: HostileGateway, trust: ssl.SSLContext, *protocols: str) -> ssl.SSLSocket:
    trust.set_alpn_protocols(list(protocols))
    return trust.wrap_socket(hostile.connect("tls").socket, server_hostname="localhost")


@pytest.mark.parametrize(
    "first", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["nothing", "half a hello"]
)
def test_s9_tls_handshakes_that_stall_are_closed_and_counted(
    hostile: HostileGateway, trust: ssl.SSLContext, first: bytes
) -> None:
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
        with hostile.connect("tls") as client, trust.wrap_socket(client.socket, server_hostname="localhost") as secured:
            secured.sendall(get())
            return secured.recv(1000).startswith(b"HTTP/1.1 200")

    assert until(served)


def test_s9_garbage_instead_of_a_handshake(hostile: HostileGateway, trust: ssl.SSLContext) -> None:
    for garbage in (get(), bytes(100), b"\x16\x03\x01\xff\xff" + bytes(1000)):
        with hostile.connect("tls") as client:
            client.send(garbage)
            assert client.closed(HANDSHAKE + SLACK)


def test_http2_over_tls_by_alpn(hostile: HostileGateway, trust: ssl.SSLContext) -> None:
    with tls(hostile, trust, "h2", "http/1.1") as secured:
        assert secured.selected_alpn_protocol() == "h2"
        client = RudeHttp2.over(secured)
        client.send(headers(1, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(1).status == 200


def test_tls_clients_that_do_not_read_are_closed(hostile: HostileGateway, trust: ssl.SSLContext) -> None:
    body = BODY[:-1] + b',"parameters":{"size":20000000}}'
    with tls(hostile, trust, "http/1.1") as secured:
        secured.sendall(post(body, "/v2/models/big/infer"))
        assert secured.recv(1000).startswith(b"HTTP/1.1 200")
        time.sleep(STALL * 2 + 0.5)
        received = 0
        with contextlib.suppress(OSError):
            while piece := secured.recv(1 << 16):
                received += len(piece)
        assert received < 20_000_000


# HTTP/2 -------------------------------------------------------------------------------------------------------------


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
    with RudeHttp2(hostile.addresses["hasty"]) as client:
        client.send(headers(1, request_headers()) if first.startswith(b"\0\0d\0") else b"")
        client.send(first)
        started = time.monotonic()
        assert client.goaway_code() in (code, 0)
        assert HEADER * 0.5 < time.monotonic() - started < HEADER + BODY_SECONDS + SLACK


@pytest.mark.parametrize("fields", [request_headers(), grpc_headers()], ids=["rest", "grpc"])
def test_http2_bodies_that_do_not_come(hostile: HostileGateway, fields: list[tuple[bytes, bytes]]) -> None:
    """Only their streams end; the connection serves on."""
    with RudeHttp2(hostile.addresses["hasty"]) as client:
        for stream in range(1, 40, 2):
            client.send(headers(stream, fields) + (data(stream, b"\0\0\0\1\0ab") if stream % 4 == 1 else b""))
        for stream in range(1, 40, 2):
            outcome = client.finish(stream)
            assert outcome.headers[0][":status"] == "408" or outcome.grpc_status == 4
        client.send(headers(41, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(41).status == 200


def test_a_streaming_call_may_be_silent_but_not_in_the_middle_of_a_message(hostile: HostileGateway) -> None:
    with RudeHttp2(hostile.addresses["hasty"]) as client:
        client.send(headers(1, grpc_headers("ModelStreamInfer")))
        client.send(headers(3, grpc_headers("ModelStreamInfer")) + data(3, message(bytes(10000))[:500]))
        assert client.finish(3).grpc_status == 4
        time.sleep(max(0.0, IDLE * 1.5 - BODY_SECONDS))
        client.send(data(1, b"", True))
        assert client.finish(1).grpc_status == 0


def test_idle_http2_connections_are_closed_in_two_steps(hostile: HostileGateway) -> None:
    with RudeHttp2(hostile.addresses["hasty"]) as client:
        client.send(headers(1, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(1).status == 200
        started = time.monotonic()
        client.finish_all()
        assert IDLE * 0.5 < time.monotonic() - started < IDLE + SLACK
        assert client.goaways == [(0, 2**31 - 1), (0, 1)]


def test_http2_pings_do_not_keep_a_connection(hostile: HostileGateway) -> None:
    with RudeHttp2(hostile.addresses["hasty"]) as client:
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
    with RudeHttp2(hostile.addresses["counted"], answer_pings=False) as client:
        for stream in range(1, 12, 2):
            client.send(headers(stream, request_headers("/v2/health/live", method="GET"), True))
        assert [client.finish(stream).status for stream in range(1, 12, 2)] == [200] * 6
        client.finish_all()
        assert client.goaways == [(0, 2**31 - 1), (0, 11)]


def test_h7_streams_whose_window_stays_closed_end(hostile: HostileGateway) -> None:
    """Nothing is sent but what the windows allow; the work is done and let go, and the connection serves on."""
    closed = {fr.INITIAL_WINDOW_SIZE: 0}
    body = BODY[:-1] + b',"parameters":{"size":100000}}'
    with hostile.memory_within(16 * MIB), RudeHttp2(hostile.addresses["hasty"], closed) as client:
        for stream in range(1, 40, 2):
            client.send(headers(stream, request_headers("/v2/models/big/infer")) + data(stream, body, True))
        client.send(headers(41, grpc_headers("ServerLive")) + data(41, message(b""), True))
        started = time.monotonic()
        for stream in range(1, 42, 2):
            assert client.finish(stream).reset == 8
        assert time.monotonic() - started > STALL * 0.5
        client.send(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, LARGE_WINDOW)]))
        client.send(headers(43, request_headers("/v2", method="GET"), True))
        assert client.finish(43).status == 200


def test_h7_a_closed_connection_window_ends_streams_and_cancels_them(hostile: HostileGateway) -> None:
    cancelled = hostile.backend.cancelled
    body = b'{"IN":[1],"parameters":{"count":100000,"size":1000}}'
    settings = {fr.INITIAL_WINDOW_SIZE: LARGE_WINDOW}
    with hostile.memory_within(16 * MIB), RudeHttp2(hostile.addresses["hasty"], settings) as client:
        for stream in range(1, 20, 2):
            path = "/v2/models/stream/generate_stream"
            client.send(headers(stream, request_headers(path)) + data(stream, body, True))
        for stream in range(1, 20, 2):
            assert client.finish(stream).reset == 8
    until(lambda: hostile.backend.cancelled >= cancelled + 10)


def test_an_http2_client_that_does_not_read_is_closed(hostile: HostileGateway) -> None:
    settings = {fr.INITIAL_WINDOW_SIZE: LARGE_WINDOW}
    cancelled = hostile.backend.cancelled
    with RudeHttp2(hostile.addresses["hasty"], settings, receive_buffer=4096) as client:
        client.send(fr.window_update(0, LARGE_WINDOW))
        body = b'{"IN":[1],"parameters":{"count":100000,"size":1000}}'
        with hostile.memory_within(32 * MIB):
            for stream in range(1, 20, 2):
                path = "/v2/models/stream/generate_stream"
                client.send(headers(stream, request_headers(path)) + data(stream, body, True))
            until(lambda: hostile.backend.cancelled >= cancelled + 10, STALL * 3 + SLACK)


def test_small_pieces_through_a_window_that_opens_now_and_then(hostile: HostileGateway) -> None:
    """A stream of events must go on whenever there is room, however little is queued."""
    body = b'{"IN":[1],"parameters":{"count":50,"size":10}}'
    with RudeHttp2(hostile.addresses["hasty"], {fr.INITIAL_WINDOW_SIZE: 100}) as client:
        client.send(headers(1, request_headers("/v2/models/stream/generate_stream")) + data(1, body, True))
        outcome = client.outcome(1)
        for _ in range(500):
            if outcome.ended:
                break
            client.socket.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                client.read_frame()
            client.send(fr.window_update(1, 100))
        assert outcome.ended
        assert outcome.body.count(b"data: {") == 50


def test_no_file_descriptor_is_left_behind(hostile: HostileGateway) -> None:
    """The last of the module: all sockets that were opened above are closed."""
    descriptors = Path(f"/proc/{hostile.worker}/fd")
    until(lambda: sum(1 for _ in descriptors.iterdir()) < 64)
