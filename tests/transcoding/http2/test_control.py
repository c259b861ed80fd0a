"""Settings, windows, resets, PING and GOAWAY (RFC 9113 §6)."""

from __future__ import annotations

import pytest

from tests.support.http2 import (
    REQUEST,
    RESPONSE,
    Requests,
    data_frame,
    exchange,
    headers_frame,
    pair,
    served,
    split,
    take,
)
from transcoding.http2 import ErrorCode, Http2Limits, ServerConnection, encode
from transcoding.http2 import frames as fr


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (fr.frame(fr.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.SETTINGS, fr.ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
        (fr.frame(fr.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 2**31)]), ErrorCode.FLOW_CONTROL_ERROR),
        (fr.frame(fr.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (fr.frame(fr.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (fr.frame(fr.RST_STREAM, 0, 1, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (fr.rst_stream(0, 8), ErrorCode.PROTOCOL_ERROR),
        (fr.rst_stream(3, 8), ErrorCode.PROTOCOL_ERROR),
        (fr.rst_stream(2, 8), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.WINDOW_UPDATE, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (fr.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (fr.window_update(3, 1), ErrorCode.PROTOCOL_ERROR),
        (fr.window_update(0, 2**31 - 65_535), ErrorCode.FLOW_CONTROL_ERROR),
        (fr.window_update(1, 2**31 - 65_536) + fr.settings_frame([(4, 65_536)]), ErrorCode.FLOW_CONTROL_ERROR),
        (fr.frame(fr.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.PRIORITY, 0, 3, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    ],
)
def test_mistakes_that_end_the_connection(data: bytes, code: ErrorCode) -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST))
    server.receive(data)
    assert server.error is not None
    assert server.error[0] == code
    assert requests.all[0].reset == (code, False)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (fr.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
        (fr.window_update(1, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (fr.frame(fr.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
        (headers_frame(1, REQUEST), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(1, REQUEST, True), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_mistakes_that_end_one_stream(data: bytes, code: ErrorCode) -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST) + headers_frame(3, REQUEST) + data)
    assert split(take(server)) == [(fr.RST_STREAM, 0, 1, code.to_bytes(4, "big"))]
    assert (requests.all[0].reset, requests.all[1].reset) == ((code, False), None)
    assert (list(server.streams), server.outgoing_control) == ([3], 2)


def test_settings_and_pings_are_answered_in_order() -> None:
    server, _ = served()
    server.receive(fr.ping_frame(b"abcdefgh") + fr.settings_frame([(0xBEEF, 1)]) + fr.ping_frame(b"12345678", ack=True))
    assert take(server) == fr.ping_frame(b"abcdefgh", ack=True) + fr.SETTINGS_ACK


def test_pings_come_back() -> None:
    client, server, _ = pair()
    pongs: list[bytes] = []
    client.on_pong = pongs.append
    client.ping(b"12345678")
    exchange(client, server)
    assert pongs == [b"12345678"]
    with pytest.raises(ValueError, match="8 bytes"):
        client.ping(b"1234")


def test_priority_and_unknown_frames_change_nothing() -> None:
    server, _ = served()
    server.receive(fr.frame(fr.PRIORITY, 0, 9, bytes(5)) + fr.frame(0xEE, 0xFF, 0, b"x") + headers_frame(1, REQUEST))
    assert (take(server), list(server.streams)) == (b"", [1])


def test_the_peers_frame_size_holds_for_what_we_send() -> None:
    server, requests = served()
    server.receive(fr.settings_frame([(fr.MAX_FRAME_SIZE, 20_000)]) + headers_frame(1, REQUEST, True))
    take(server)
    requests.all[0].stream.send_all(encode([*RESPONSE, (b"x", b"y" * 30_000)]), bytes(30_000), None)
    assert [len(payload) for *_, payload in split(take(server))][:1] == [20_000]
    server.receive(fr.settings_frame([(fr.MAX_FRAME_SIZE, 16_384)]) + headers_frame(3, REQUEST, True))
    take(server)
    requests.all[1].stream.send_all(encode([*RESPONSE, (b"x", b"y" * 30_000)]), b"", None)
    assert [len(payload) for *_, payload in split(take(server))][:1] == [16_384]


def test_a_peer_that_has_not_seen_our_smaller_window_may_use_the_default() -> None:
    requests = Requests(consume=False)
    server = ServerConnection(Http2Limits(stream_window=1000), requests)
    server.start()
    server.receive(fr.PREFACE + fr.settings_frame(()) + headers_frame(1, REQUEST))
    for size in (16_384, 16_384, 16_384, 16_383):
        server.receive(data_frame(1, bytes(size)))
    assert not server.closed
    server.receive(fr.SETTINGS_ACK + headers_frame(3, REQUEST) + data_frame(3, bytes(1000)))
    assert not server.closed
    requests.all[0].stream.consumed(65_535)
    server.receive(data_frame(1, bytes(1000)))
    assert not server.closed
    server.receive(data_frame(1, b"x"))
    assert server.error is not None
    assert server.error[0] == ErrorCode.FLOW_CONTROL_ERROR


def test_what_is_owed_is_given_back_when_the_window_shrinks() -> None:
    # Half of the default window is not owed yet, but it is more than half of the smaller window that holds from here.
    requests = Requests()
    server = ServerConnection(Http2Limits(stream_window=1000), requests)
    server.receive(fr.PREFACE + fr.settings_frame(()) + headers_frame(1, REQUEST) + data_frame(1, bytes(10_000)))
    take(server)
    server.receive(fr.SETTINGS_ACK)
    assert split(take(server)) == [(fr.WINDOW_UPDATE, 0, 1, (10_000).to_bytes(4, "big"))]


def test_the_greeting_widens_the_connections_window() -> None:
    server = ServerConnection(Http2Limits(connection_window=100_000), Requests())
    server.start()
    assert split(take(server))[1] == (fr.WINDOW_UPDATE, 0, 0, (100_000 - 65_535).to_bytes(4, "big"))
    plain = ServerConnection(Http2Limits(connection_window=65_535), Requests())
    plain.start()
    assert len(split(take(plain))) == 1


def test_a_lost_connection_resets_every_stream() -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST) + headers_frame(3, REQUEST, True))
    server.connection_lost()
    assert [one.reset for one in requests.all] == [(ErrorCode.INTERNAL_ERROR, False)] * 2
    assert (server.closed, server.error, server.streams, take(server)) == (True, None, {}, b"")
    server.connection_lost()


def test_goaway_with_an_error_ends_all() -> None:
    server, requests = served()
    server.receive(headers_frame(5, REQUEST))
    server.goaway(ErrorCode.INTERNAL_ERROR, debug=b"bug")
    server.goaway(ErrorCode.INTERNAL_ERROR, debug=b"again")
    assert split(take(server)) == [(fr.GOAWAY, 0, 0, fr.goaway_frame(5, 2, b"bug")[9:])]
    assert (server.error, server.closed, requests.all[0].reset) == ((2, "bug"), True, (2, False))


def test_the_streams_that_we_reset_are_remembered_within_bounds() -> None:
    server, requests = served()
    for stream in range(1, 4001, 2):
        server.receive(headers_frame(stream, REQUEST))
        requests.all[-1].stream.reset(8)
    assert len(server._resets) <= 512
    server.receive(data_frame(1, b"late") + data_frame(3999, b"late"))
    assert not server.closed
