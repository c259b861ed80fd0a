"""Budgets, and each attack that they stop (policies.md §2.3, H1 to H5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.http2 import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    Recorder,
    Requests,
    data_frame,
    exchange,
    headers_frame,
    pair,
    served,
    take,
)
from transcoding.http2 import ErrorCode, Http2Limits, ServerConnection, encode
from transcoding.http2 import frames as fr
from transcoding.http2.errors import ProtocolError
from transcoding.http2.guards import Budget

CALM = ErrorCode.ENHANCE_YOUR_CALM


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_budget_runs_out() -> None:
    budget = Budget("why", 3, 1.0)
    for _ in range(3):
        budget.spend(0)
    with pytest.raises(ProtocolError, match="why") as caught:
        budget.spend(0)
    assert caught.value.code == CALM


def test_work_pays_back_but_never_more_than_the_capacity() -> None:
    budget = Budget("why", 3, 0.0)
    for _ in range(3):
        budget.spend(0)
    for _ in range(4):
        budget.spend(1_000_000)
    with pytest.raises(ProtocolError):
        budget.spend(1_000_000)


def test_time_pays_back() -> None:
    clock = Clock()
    budget = Budget("why", 10, 5.0, clock)
    for _ in range(100):
        budget.spend(0)
        clock.now += 0.2
    with pytest.raises(ProtocolError):
        budget.spend(0, cost=11)


def opened(stream: int, *then: bytes) -> bytes:
    return headers_frame(stream, REQUEST) + b"".join(then)


def ended(stream: int, *then: bytes) -> bytes:
    return headers_frame(stream, REQUEST, True) + b"".join(then)


# Endless attacks on a server where stream 1 is open: what is sent for each new stream id.
FLOODS: dict[str, Callable[[int], bytes]] = {
    "ping": lambda stream: fr.ping_frame(b"12345678"),
    "pong": lambda stream: fr.ping_frame(b"12345678", ack=True),
    "settings": lambda stream: fr.settings_frame(()),
    "settings values": lambda stream: fr.settings_frame([(0xF0F0, n) for n in range(100)]),
    "settings ack": lambda stream: fr.SETTINGS_ACK,
    "priority": lambda stream: fr.frame(fr.PRIORITY, 0, stream, b"\0\0\0\0\0"),
    "unknown": lambda stream: fr.frame(0xEE, 0, 0, b""),
    "window update": lambda stream: fr.window_update(0, 1),
    "stream window update": lambda stream: fr.window_update(1, 1),
    "empty data": lambda stream: data_frame(1, b""),
    "padded empty data": lambda stream: fr.frame(fr.DATA, fr.PADDED, 1, b"\x05" + bytes(5)),
    "goaway": lambda stream: fr.goaway_frame(0, 0),
    "rapid reset": lambda stream: opened(stream, fr.rst_stream(stream, 8)),
    "rapid reset of finished requests": lambda stream: ended(stream, fr.rst_stream(stream, 8)),
    "resets of closed streams": lambda stream: fr.rst_stream(1, 8),
    "malformed requests": lambda stream: headers_frame(stream, REQUEST[1:]),
    "window update of 0": lambda stream: opened(stream, fr.window_update(stream, 0)),
    "window overflow": lambda stream: opened(stream, fr.window_update(stream, 2**31 - 1)),
    "data after the end": lambda stream: ended(stream, data_frame(stream, b"x")),
    "headers after the end": lambda stream: ended(stream, ended(stream)),
    "wrong content-length": lambda stream: (
        headers_frame(stream, [*REQUEST, (b"content-length", b"1")]) + data_frame(stream, b"xx")
    ),
    "priority size": lambda stream: opened(stream, fr.frame(fr.PRIORITY, 0, stream, b"")),
    "too many streams": opened,
    "huge headers": lambda stream: headers_frame(stream, [*REQUEST, *[(b"a", b"")] * 1000]) + fr.rst_stream(stream, 0),
    "continuation": lambda stream: (
        headers_frame(stream, REQUEST, flags=0) if stream == 3 else fr.frame(fr.CONTINUATION, 0, 3, b"")
    ),
}


def flood(name: str) -> Iterator[bytes]:
    return (FLOODS[name](stream) for stream in range(3, 2**31, 2))


@pytest.mark.parametrize("name", FLOODS)
def test_floods_end_the_connection_soon(name: str) -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST))
    most_streams = 0
    for count, attack in enumerate(flood(name)):
        server.receive(attack)
        most_streams = max(most_streams, len(server.streams))
        if server.closed:
            break
        assert count < 1100, "the flood is not stopped"
    assert server.error is not None
    assert server.error[0] == CALM
    assert most_streams <= server.limits.max_streams
    assert not server.streams
    assert all(request.reset is not None for request in requests.all)
    assert server.outgoing_control <= 1100
    assert len(b"".join(server.outgoing)) < 64 * 1024


@pytest.mark.parametrize("name", ["ping", "rapid reset"])
def test_one_read_full_of_attack_is_bounded_too(name: str) -> None:
    server, requests = served()
    attack = flood(name)
    server.receive(b"".join(next(attack) for _ in range(15_000)))
    assert server.error is not None
    assert len(server.outgoing) < 1100
    assert len(requests.all) < 300


@pytest.mark.parametrize("name", ["ping", "settings", "window update", "priority"])
def test_a_slow_trickle_is_no_flood(name: str) -> None:
    clock = Clock()
    server, _ = served(clock=clock)
    attack = flood(name)
    for _ in range(5000):
        server.receive(next(attack))
        clock.now += 0.01
        take(server)
    assert not server.closed


def test_a_client_that_cancels_half_of_its_calls_is_served() -> None:
    client, server, requests = pair()
    for _ in range(1000):
        calls = [Recorder(), Recorder()]
        for call in calls:
            call.stream = client.open(call)
            call.stream.send_all(encode(REQUEST), b"x", None)
        exchange(client, server)
        calls[0].stream.reset(ErrorCode.CANCEL)
        requests.all[-1].stream.send_all(encode(RESPONSE), b"y", encode(TRAILERS))
        exchange(client, server)
        assert calls[1].ended
    assert not server.closed


def test_window_updates_in_step_with_data_are_no_flood() -> None:
    # A client that acknowledges each small frame of a token stream, on the stream and on the connection.
    client, server, requests = pair()
    call = Recorder()
    call.stream = client.open(call)
    call.stream.send_all(encode(REQUEST), b"x", None)
    exchange(client, server)
    answer = requests.all[0].stream
    answer.send_headers(encode(RESPONSE))
    for _ in range(3000):
        answer.send_data(bytes(2048))
        take(server)
        server.receive(fr.window_update(1, 2048) + fr.window_update(0, 2048))
    assert not server.closed


def test_one_byte_windows_do_not_pay_for_themselves() -> None:
    # Data dribble (CVE-2019-9511): each update lets one byte out.
    server, requests = served()
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 0)]) + headers_frame(1, REQUEST, True))
    requests.all[0].stream.send_all(encode(RESPONSE), bytes(100_000), None)
    for _ in range(1100):
        server.receive(fr.window_update(1, 1))
        take(server)
    assert server.error is not None
    assert server.error[0] == CALM


def test_a_continuation_flood_is_bounded_by_bytes() -> None:
    server, _ = served(Http2Limits(continuations=1000))
    server.receive(headers_frame(1, REQUEST, flags=0))
    for _ in range(5):
        server.receive(fr.frame(fr.CONTINUATION, 0, 1, bytes(16_384)))
    assert server.error is not None
    assert server.error[0] == CALM


def test_streams_opened_before_the_client_knew_the_limit_are_refused_without_blame() -> None:
    requests = Requests()
    server = ServerConnection(Http2Limits(), requests)
    server.start()
    server.receive(fr.PREFACE + fr.settings_frame(()))
    server.receive(b"".join(headers_frame(stream, REQUEST) for stream in range(1, 1001, 2)))
    assert not server.closed
    assert len(server.streams) == 128


def test_nothing_is_charged_for_what_a_client_resets_after_our_answer() -> None:
    server, requests = served()
    for stream in range(1, 4001, 2):
        server.receive(headers_frame(stream, REQUEST))
        requests.all[-1].stream.send_all(encode(RESPONSE), b"", encode(TRAILERS))
        server.receive(fr.rst_stream(stream, 0))
    assert not server.closed
    assert not server.streams
