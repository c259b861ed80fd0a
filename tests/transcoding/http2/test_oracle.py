"""Random conversations with python-hyper's `h2` at the other end, in both roles."""

from __future__ import annotations

from dataclasses import dataclass

import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.h2_peer import H2Peer, exchange_with
from tests.support.http2 import REQUEST, RESPONSE, TRAILERS, Recorder, Requests
from transcoding.http2 import ClientConnection, ErrorCode, Http2Limits, ServerConnection, encode
from transcoding.http2.headers import Pair

SETTINGS = h2.settings.SettingCodes
CHUNKS = st.sampled_from([0, 0, 50, 5000])
WINDOWS = st.sampled_from([0, 100, 16_384, 65_535, 500_000])
LIMITS = st.builds(
    Http2Limits,
    stream_window=st.sampled_from([1000, 65_535, 262_144]),
    connection_window=st.sampled_from([65_535, 1 << 20]),
    max_frame=st.sampled_from([16_384, 100_000]),
    nuisances=st.just(100_000),
)
SIZES = st.sampled_from([0, 1, 1024, 4096, 5000, 16_384, 70_000, 150_000])


@dataclass
class Exchange:
    """One request and its response; `reset` is who ends it early, if anybody."""

    request: int
    response: int
    request_trailers: bool
    response_trailers: bool
    unique: int
    reset: str


EXCHANGES = st.lists(
    st.builds(
        Exchange,
        SIZES,
        SIZES,
        st.booleans(),
        st.booleans(),
        st.integers(0, 3),
        st.sampled_from(["", "", "", "client", "server"]),
    ),
    min_size=1,
    max_size=8,
)


def head(exchange: Exchange) -> list[Pair]:
    return [*REQUEST, (b"x-request-id", b"%d" % exchange.unique), (b"user-agent", b"u" * 30 * exchange.unique)]


def body(size: int, seed: int) -> bytes:
    return bytes((seed + at * 7) % 251 for at in range(min(size, 251))) * (size // 251 + 1) if size else b""


def settle(peer: H2Peer, ours: ClientConnection | ServerConnection, chunk: int, windows: list[int]) -> None:
    """Let h2 change its windows, to one that lets everything through at last. They only grow: h2 fails on its own
    window below zero, which RFC 9113 §6.9.2 allows and `test_flow` tests."""
    for window in [*sorted(windows), 1 << 20]:
        peer.connection.update_settings({SETTINGS.INITIAL_WINDOW_SIZE: window})
        exchange_with(peer, ours, chunk)
        assert ours.error is None
        assert peer.terminated is None


@settings(max_examples=60, deadline=None)
@given(EXCHANGES, LIMITS, st.lists(WINDOWS, max_size=3), CHUNKS)
def test_our_client_and_their_server(
    exchanges: list[Exchange], limits: Http2Limits, windows: list[int], chunk: int
) -> None:
    client, peer = ClientConnection(limits), H2Peer(client=False)
    client.start()
    peer.connection.update_settings({SETTINGS.INITIAL_WINDOW_SIZE: min(windows, default=65_535)})
    exchange_with(peer, client, chunk)
    calls: list[Recorder] = []
    for seed, one in enumerate(exchanges):
        call = Recorder()
        call.stream = client.open(call)
        tail = encode(TRAILERS) if one.request_trailers else None
        call.stream.send_all(encode(head(one)), body(one.request, seed)[: one.request], tail)
        calls.append(call)
    exchange_with(peer, client, chunk)
    for seed, (call, one) in enumerate(zip(calls, exchanges, strict=True)):
        stream = call.stream
        if one.reset == "client":
            stream.reset(ErrorCode.CANCEL)
            exchange_with(peer, client, chunk)
        elif one.reset == "server":
            peer.connection.reset_stream(stream.id, 7)
        else:
            bare = not one.response and not one.response_trailers
            peer.connection.send_headers(stream.id, RESPONSE, end_stream=bare)
            if not bare:
                peer.send_body(
                    stream.id, body(one.response, seed)[: one.response], TRAILERS if one.response_trailers else None
                )
    settle(peer, client, chunk, windows)
    for seed, (call, one) in enumerate(zip(calls, exchanges, strict=True)):
        seen = peer.streams[call.stream.id]
        assert seen.headers[0] == head(one)
        if one.reset == "server":
            assert (call.reset, call.stream.refused) == ((7, True), True)
        elif one.reset == "client":
            assert seen.reset == ErrorCode.CANCEL or seen.ended
        else:
            assert seen.ended
            assert seen.body == body(one.request, seed)[: one.request]
            assert seen.headers[1:] == ([TRAILERS] if one.request_trailers else [])
            assert call.ended
            assert call.body == body(one.response, seed)[: one.response]
            expected = [tuple(RESPONSE)] + ([tuple(TRAILERS)] if one.response_trailers else [])
            assert call.headers == expected
    assert client.streams == {}


@settings(max_examples=60, deadline=None)
@given(EXCHANGES, LIMITS, st.lists(WINDOWS, max_size=3), CHUNKS)
def test_their_client_and_our_server(
    exchanges: list[Exchange], limits: Http2Limits, windows: list[int], chunk: int
) -> None:
    requests = Requests()
    server, peer = ServerConnection(limits, requests), H2Peer(client=True)
    server.start()
    peer.connection.update_settings({SETTINGS.INITIAL_WINDOW_SIZE: min(windows, default=65_535)})
    for seed, one in enumerate(exchanges):
        stream = 2 * seed + 1
        bare = not one.request and not one.request_trailers
        peer.connection.send_headers(stream, head(one), end_stream=bare)
        if not bare:
            peer.send_body(stream, body(one.request, seed)[: one.request], TRAILERS if one.request_trailers else None)
    exchange_with(peer, server, chunk)
    for seed, (recorder, one) in enumerate(zip(requests.all, exchanges, strict=True)):
        if one.reset == "client":
            peer.connection.reset_stream(recorder.stream.id, 8)
            peer.queues.pop(recorder.stream.id, None)
            exchange_with(peer, server, chunk)
        elif one.reset == "server":
            recorder.stream.reset(ErrorCode.INTERNAL_ERROR)
        else:
            tail = encode(TRAILERS) if one.response_trailers else None
            recorder.stream.send_all(encode(RESPONSE), body(one.response, seed)[: one.response], tail)
    settle(peer, server, chunk, windows)
    for seed, (recorder, one) in enumerate(zip(requests.all, exchanges, strict=True)):
        seen = peer.streams[recorder.stream.id]
        assert recorder.headers[0] == tuple(head(one))
        if one.reset == "client":
            assert recorder.reset == (8, True)
        elif one.reset == "server":
            assert seen.reset == ErrorCode.INTERNAL_ERROR
        else:
            assert recorder.ended
            assert recorder.body == body(one.request, seed)[: one.request]
            assert recorder.headers[1:] == ([tuple(TRAILERS)] if one.request_trailers else [])
            assert seen.ended
            assert seen.body == body(one.response, seed)[: one.response]
            assert seen.headers == [RESPONSE] + ([TRAILERS] if one.response_trailers else [])
    assert server.streams == {}


def test_pings_and_graceful_shutdown_as_h2_sees_them() -> None:
    requests = Requests()
    server, peer = ServerConnection(Http2Limits(), requests), H2Peer(client=True)
    server.start()
    peer.connection.ping(b"12345678")
    peer.connection.send_headers(1, REQUEST, end_stream=True)
    exchange_with(peer, server)
    requests.all[0].stream.send_all(encode(RESPONSE), b"last", encode(TRAILERS))
    # h2 reads nothing after a GOAWAY, so it comes last here.
    server.goaway()
    server.goaway_final()
    exchange_with(peer, server)
    assert peer.streams[1].body == b"last"
    assert peer.terminated == ErrorCode.NO_ERROR
    assert server.streams == {}
