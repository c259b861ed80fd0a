"""The client's end."""

from __future__ import annotations

import pytest

from tests.support.http2 import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    Recorder,
    data_frame,
    exchange,
    headers_frame,
    pair,
    split,
    take,
)
from transcoding.http2 import ClientConnection, ErrorCode, Http2Limits, encode
from transcoding.http2 import frames as fr

HEAD = encode(REQUEST)


def connected(*settings: tuple[int, int], limits: Http2Limits | None = None) -> ClientConnection:
    client = ClientConnection(limits or Http2Limits())
    client.start()
    client.receive(fr.settings_frame(settings) + fr.SETTINGS_ACK)
    take(client)
    return client


def called(client: ClientConnection, ended: bool = True) -> Recorder:
    call = Recorder()
    call.stream = client.open(call)
    if ended:
        call.stream.send_all(HEAD, b"", None)
    else:
        call.stream.send_headers(HEAD)
    return call


def test_it_greets() -> None:
    client = ClientConnection(Http2Limits())
    client.start()
    data = take(client)
    assert data.startswith(fr.PREFACE)
    assert fr.parse_settings(split(data)[0][3]) == {1: 0, 2: 0, 4: 262_144, 5: 16_384, 6: 32_768}


def test_ids_are_given_in_the_order_of_the_wire() -> None:
    client = connected()
    one, two = Recorder(), Recorder()
    first, second = client.open(one), client.open(two)
    assert (first.id, second.id) == (0, 0)
    second.send_all(HEAD, b"", None)
    first.send_headers(HEAD)
    assert (first.id, second.id) == (3, 1)
    assert [stream for *_, stream, _ in split(take(client))] == [1, 3]


def test_it_respects_the_servers_stream_limit() -> None:
    client = connected((fr.MAX_CONCURRENT_STREAMS, 2))
    calls: list[int] = []
    client.on_available = lambda: calls.append(len(client.streams))
    first = called(client)
    assert client.available
    unsent = client.open(Recorder())
    assert not client.available
    with pytest.raises(RuntimeError):
        client.open(Recorder())
    client.receive(headers_frame(1, RESPONSE, True))
    assert (first.ended, calls, client.available) == (True, [0], True)
    called(client)
    assert not client.available
    unsent.reset(ErrorCode.CANCEL)
    assert (calls, client.available) == ([0, 1], True)
    client.receive(fr.settings_frame([(fr.MAX_CONCURRENT_STREAMS, 1)]))
    assert not client.available
    client.receive(fr.settings_frame([(fr.MAX_CONCURRENT_STREAMS, 9)]))
    assert (calls, client.available) == ([0, 1, 1], True)


def test_before_settings_it_assumes_a_hundred_streams_and_none_after() -> None:
    client = ClientConnection(Http2Limits())
    client.start()
    for _ in range(100):
        called(client)
    assert not client.available
    client.receive(fr.settings_frame(()))
    assert client.available


def test_ids_run_out() -> None:
    client = connected()
    client._next_id = 2**31 - 1
    assert client.available
    called(client)
    assert not client.available


def test_informational_responses_are_skipped() -> None:
    client = connected()
    call = called(client)
    client.receive(headers_frame(1, [(b":status", b"103")]) * 2 + headers_frame(1, RESPONSE))
    assert call.headers == [tuple(RESPONSE)]


def test_trailers_only() -> None:
    client = connected()
    call = called(client)
    client.receive(headers_frame(1, [*RESPONSE, *TRAILERS], True))
    assert (call.headers, call.ended, client.streams) == ([(*RESPONSE, *TRAILERS)], True, {})


def test_content_length_without_data_may_answer_head() -> None:
    client = connected()
    call = called(client)
    client.receive(headers_frame(1, [*RESPONSE, (b"content-length", b"5")], True))
    assert (call.ended, call.reset) == (True, None)


@pytest.mark.parametrize(
    "bad",
    [
        data_frame(1, b"x"),
        data_frame(1, b"", True),
        headers_frame(1, TRAILERS),
        headers_frame(1, [(b":status", b"100")], True),
        headers_frame(1, RESPONSE) + headers_frame(1, TRAILERS),
        headers_frame(1, RESPONSE) + headers_frame(1, RESPONSE, True),
        headers_frame(1, [*RESPONSE, (b"content-length", b"5")]) + data_frame(1, b"x", True),
        headers_frame(1, [*RESPONSE, (b"content-length", b"5")]) + headers_frame(1, TRAILERS, True),
        headers_frame(1, [*RESPONSE, (b"transfer-encoding", b"chunked")]),
    ],
)
def test_malformed_responses_reset_their_stream(bad: bytes) -> None:
    client = connected()
    call, other = called(client), called(client)
    take(client)
    client.receive(bad + headers_frame(3, RESPONSE, True))
    assert (call.reset, other.ended) == ((ErrorCode.PROTOCOL_ERROR, False), True)
    assert split(take(client)) == [(fr.RST_STREAM, 0, 1, (1).to_bytes(4, "big"))]


def test_too_large_headers_reset_their_stream() -> None:
    client = connected(limits=Http2Limits(header_list_bytes=500))
    call = called(client)
    client.receive(headers_frame(1, [*RESPONSE, (b"x", b"y" * 1000)]))
    assert call.reset == (ErrorCode.ENHANCE_YOUR_CALM, False)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (headers_frame(5, RESPONSE), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(2, RESPONSE), ErrorCode.PROTOCOL_ERROR),
        (data_frame(3, b"x"), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (fr.settings_frame([(fr.ENABLE_PUSH, 1)]), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_mistakes_that_end_the_connection(data: bytes, code: ErrorCode) -> None:
    client = connected()
    call = called(client)
    client.receive(data)
    assert client.error is not None
    assert client.error[0] == code
    assert call.reset is not None or call.ended
    assert not client.available


def test_trailers_that_come_twice_harm_no_other_request() -> None:
    """What gRPC's C core sends when a deadline passes: trailers, RST_STREAM, and the same trailers again."""
    client = connected()
    late, other = called(client), called(client)
    end = headers_frame(1, RESPONSE, True)
    client.receive(end + fr.rst_stream(1, ErrorCode.NO_ERROR) + end + data_frame(1, b"x"))
    assert client.error is None
    assert late.ended
    client.receive(headers_frame(3, RESPONSE, True))
    assert other.ended


def test_a_stream_that_was_reset_may_still_be_sent_a_window_of_small_frames() -> None:
    client = connected()
    call = called(client)
    call.stream.reset(ErrorCode.CANCEL)
    for _ in range(2 * client.limits.nuisances):
        client.receive(data_frame(1, b"x"))
    assert client.error is None
    assert client.owed <= client.owed_limit


def test_frames_after_the_response_reset_the_request() -> None:
    client = connected()
    call = called(client, ended=False)
    client.receive(headers_frame(1, RESPONSE, True) + data_frame(1, b"x"))
    assert call.ended
    assert call.reset == (ErrorCode.STREAM_CLOSED, False)


def test_refused_streams_are_marked() -> None:
    client = connected()
    refused, cancelled = called(client), called(client)
    client.receive(fr.rst_stream(1, ErrorCode.REFUSED_STREAM) + fr.rst_stream(3, ErrorCode.INTERNAL_ERROR))
    assert (refused.reset, refused.stream.refused) == ((7, True), True)
    assert (cancelled.reset, cancelled.stream.refused) == ((2, True), False)


def test_goaway_refuses_the_streams_above_its_last() -> None:
    client = connected()
    kept, refused, unsent = called(client), called(client), Recorder()
    stream = unsent.stream = client.open(unsent)
    client.receive(fr.goaway_frame(2**31 - 1, 0))
    assert (refused.reset, client.available) == (None, False)
    client.receive(fr.goaway_frame(1, 0))
    assert (refused.reset, refused.stream.refused) == ((ErrorCode.REFUSED_STREAM, False), True)
    take(client)
    stream.send_all(HEAD, b"x", None)
    assert (unsent.reset, stream.refused, take(client)) == ((ErrorCode.REFUSED_STREAM, False), True, b"")
    client.receive(headers_frame(1, RESPONSE, True))
    assert (kept.ended, client.streams, client.closed) == (True, {}, False)


def test_an_early_answer_then_no_error_keeps_the_answer() -> None:
    client = connected()
    call = called(client, ended=False)
    client.receive(headers_frame(1, RESPONSE, True) + fr.rst_stream(1, 0))
    assert (call.ended, call.reset, client.streams) == (True, (0, True), {})
    call.stream.send_data(b"useless", True)


def test_a_stream_opened_before_settings_uses_the_window_of_its_sending() -> None:
    client = ClientConnection(Http2Limits())
    client.start()
    call = Recorder()
    stream = call.stream = client.open(call)
    client.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 10)]))
    take(client)
    stream.send_all(HEAD, bytes(20), None)
    assert [(kind, len(payload)) for kind, _, _, payload in split(take(client))][-1] == (fr.DATA, 10)
    assert stream.queued == 10


def test_many_calls_at_once_both_ways() -> None:
    client, server, requests = pair(server=Http2Limits(max_streams=1000))
    calls = [called(client, ended=False) for _ in range(200)]
    for round_ in range(20):
        for call in calls:
            call.stream.send_data(bytes((round_,)) * 3000, round_ == 19)
        exchange(client, server)
    for recorder in requests.all:
        assert recorder.stream is not None
        recorder.stream.send_all(encode(RESPONSE), bytes(recorder.body), encode(TRAILERS))
    exchange(client, server)
    expected = b"".join(bytes((round_,)) * 3000 for round_ in range(20))
    assert all(call.body == expected and call.ended for call in calls)
    assert (client.streams, server.streams, client.error, server.error) == ({}, {}, None, None)
    assert "next id 401" in repr(client)
