"""Clients that do not take what they asked for: S6 and H7 of the adversarial suite.

Each is given up when it has made no progress for a while, its work is cancelled, and somebody else notices nothing.
"""

from __future__ import annotations

import contextlib
import time

import pytest

from routing.connectors.grpc_h2 import UPSTREAM_LIMITS
from tests.support.deadline import until
from tests.support.hostile import MIB, SLACK, STALL, HostileGateway
from tests.support.raw_client import BODY, post
from tests.support.rude_http2 import LARGE_WINDOW, data, grpc_headers, headers, message, request_headers
from transcoding.http2 import frames as fr

AHEAD = UPSTREAM_LIMITS.stream_window
"""What an endpoint may have sent of a stream before it notices that nobody takes it, in bytes."""

pytestmark = pytest.mark.usefixtures("bystander")


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


def test_tls_clients_that_do_not_read_are_closed(hostile: HostileGateway) -> None:
    body = BODY[:-1] + b',"parameters":{"size":20000000}}'
    with hostile.tls("http/1.1") as secured:
        secured.sendall(post(body, "/v2/models/big/infer"))
        assert secured.recv(1000).startswith(b"HTTP/1.1 200")
        time.sleep(STALL * 2 + 0.5)
        received = 0
        with contextlib.suppress(OSError):
            while piece := secured.recv(1 << 16):
                received += len(piece)
        assert received < 20_000_000


def test_h7_streams_whose_window_stays_closed_end(hostile: HostileGateway) -> None:
    """Nothing is sent but what the windows allow; the work is done and let go, and the connection serves on."""
    closed = {fr.INITIAL_WINDOW_SIZE: 0}
    body = BODY[:-1] + b',"parameters":{"size":100000}}'
    with hostile.memory_within(16 * MIB), hostile.http2("hasty", closed) as client:
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
    with hostile.memory_within(10 * AHEAD + 8 * MIB), hostile.http2("hasty", settings) as client:
        for stream in range(1, 20, 2):
            path = "/v2/models/stream/generate_stream"
            client.send(headers(stream, request_headers(path)) + data(stream, body, True))
        for stream in range(1, 20, 2):
            assert client.finish(stream).reset == 8
    until(lambda: hostile.backend.cancelled >= cancelled + 10)


def test_an_http2_client_that_does_not_read_is_closed(hostile: HostileGateway) -> None:
    settings = {fr.INITIAL_WINDOW_SIZE: LARGE_WINDOW}
    cancelled = hostile.backend.cancelled
    with hostile.http2("hasty", settings, receive_buffer=4096) as client:
        client.send(fr.window_update(0, LARGE_WINDOW))
        body = b'{"IN":[1],"parameters":{"count":100000,"size":1000}}'
        with hostile.memory_within(10 * AHEAD + 8 * MIB):
            for stream in range(1, 20, 2):
                path = "/v2/models/stream/generate_stream"
                client.send(headers(stream, request_headers(path)) + data(stream, body, True))
            until(lambda: hostile.backend.cancelled >= cancelled + 10, STALL * 3 + SLACK)


def test_small_pieces_through_a_window_that_opens_now_and_then(hostile: HostileGateway) -> None:
    """A stream of events must go on whenever there is room, however little is queued."""
    body = b'{"IN":[1],"parameters":{"count":50,"size":10}}'
    with hostile.http2("hasty", {fr.INITIAL_WINDOW_SIZE: 100}) as client:
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
