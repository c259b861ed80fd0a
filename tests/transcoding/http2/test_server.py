"""The server's end."""

from __future__ import annotations

import pytest

from tests.support.http2 import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    Recorder,
    Requests,
    data_frame,
    headers_frame,
    served,
    split,
    take,
)
from transcoding.http2 import ErrorCode, HeaderBlock, Http2Limits, Receiver, ServerConnection, Stream, encode
from transcoding.http2 import frames as fr

PROTOCOL_ERROR = (1).to_bytes(4, "big")


def test_it_greets_with_its_limits() -> None:
    server = ServerConnection(Http2Limits(max_streams=7, header_list_bytes=999, stream_window=70_000), Requests())
    server.start()
    kind, _, _, payload = split(take(server))[0]
    assert kind == fr.SETTINGS
    assert fr.parse_settings(payload) == {1: 0, 3: 7, 4: 70_000, 5: 16_384, 6: 999}


@pytest.mark.parametrize("size", [1, 5, 24, 1000])
def test_the_preface_may_come_in_pieces(size: int) -> None:
    requests = Requests()
    server = ServerConnection(Http2Limits(), requests)
    data = fr.PREFACE + fr.settings_frame(()) + headers_frame(1, REQUEST)
    for at in range(0, len(data), size):
        server.receive(data[at : at + size])
    assert len(requests.all) == 1


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\0"])
def test_another_preface_ends_the_connection_at_its_first_wrong_byte(data: bytes) -> None:
    server = ServerConnection(Http2Limits(), Requests())
    server.receive(data)
    assert server.error == (ErrorCode.PROTOCOL_ERROR, "not an HTTP/2 preface")


def test_a_whole_call() -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST) + data_frame(1, b"question"))
    server.receive(headers_frame(1, [(b"x-checksum", b"1")], True))
    recorder = requests.all[0]
    assert recorder.headers == [tuple(REQUEST), ((b"x-checksum", b"1"),)]
    assert (recorder.body, recorder.ended) == (b"question", True)
    recorder.stream.send_all(encode(RESPONSE), b"answer", encode(TRAILERS))
    kinds = [(kind, flags) for kind, flags, _, _ in split(take(server))]
    assert kinds == [(fr.HEADERS, fr.END_HEADERS), (fr.DATA, 0), (fr.HEADERS, fr.END_HEADERS | fr.END_STREAM)]
    assert (server.streams, server.completed) == ({}, 1)


def test_accept_may_answer_at_once() -> None:
    def accept(stream: Stream, block: HeaderBlock, end_stream: bool) -> Receiver:
        stream.send_all(encode(RESPONSE), b"", None)
        return recorder

    recorder = Recorder()
    server, _ = served()
    server._accept = accept
    server.receive(headers_frame(1, REQUEST, True))
    assert server.streams == {}
    server.receive(headers_frame(3, REQUEST) + data_frame(3, b"rest", True))
    assert (recorder.body, server.streams) == (b"rest", {})


def test_accept_may_reset_at_once() -> None:
    def accept(stream: Stream, block: HeaderBlock, end_stream: bool) -> Receiver:
        stream.reset(ErrorCode.CANCEL)
        return recorder

    recorder = Recorder()
    server, _ = served()
    server._accept = accept
    server.receive(headers_frame(1, REQUEST) + data_frame(1, b"x") + fr.rst_stream(1, 0))
    assert (server.streams, server.closed, recorder.body, recorder.reset) == ({}, False, b"", None)


def test_a_stream_too_many_is_refused_and_its_headers_are_still_read() -> None:
    requests = Requests()
    server = ServerConnection(Http2Limits(max_streams=1), requests)
    server.receive(fr.PREFACE + fr.settings_frame(()))
    server.receive(headers_frame(1, REQUEST))
    take(server)
    # The refused block puts an entry into the dynamic table that the next one uses.
    server.receive(fr.frame(fr.HEADERS, fr.END_HEADERS, 3, encode(REQUEST) + b"\x40\x01a\x01b"))
    assert split(take(server)) == [(fr.RST_STREAM, 0, 3, (7).to_bytes(4, "big"))]
    server.receive(data_frame(3, b"on its way"))
    server.receive(fr.rst_stream(1, 8))
    server.receive(fr.frame(fr.HEADERS, fr.END_HEADERS, 5, encode(REQUEST) + b"\xbe"))
    assert requests.all[-1].headers == [(*REQUEST, (b"a", b"b"))]
    assert not server.closed


@pytest.mark.parametrize(
    "bad",
    [
        headers_frame(1, REQUEST[1:]),
        headers_frame(1, [*REQUEST, (b"connection", b"close")]),
        headers_frame(1, [*REQUEST, (b"content-length", b"5")], True),
    ],
)
def test_malformed_requests_reset_their_stream(bad: bytes) -> None:
    server, requests = served()
    server.receive(bad + data_frame(1, b"on its way") + headers_frame(3, REQUEST))
    assert split(take(server)) == [(fr.RST_STREAM, 0, 1, PROTOCOL_ERROR)]
    assert len(requests.all) == 1
    assert not server.closed


@pytest.mark.parametrize(
    "bad",
    [
        headers_frame(1, TRAILERS),
        headers_frame(1, [(b":path", b"/")], True),
        headers_frame(1, [(b"connection", b"close")], True),
    ],
)
def test_malformed_trailers_reset_their_stream(bad: bytes) -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST) + bad)
    assert requests.all[0].reset == (ErrorCode.PROTOCOL_ERROR, False)
    assert split(take(server)) == [(fr.RST_STREAM, 0, 1, PROTOCOL_ERROR)]


def test_trailers_before_content_length_is_reached() -> None:
    server, requests = served()
    server.receive(headers_frame(1, [*REQUEST, (b"content-length", b"5")]) + headers_frame(1, TRAILERS, True))
    assert requests.all[0].reset == (ErrorCode.PROTOCOL_ERROR, False)


@pytest.mark.parametrize("late", [data_frame(1, b"x"), headers_frame(1, TRAILERS, True)])
def test_frames_after_the_requests_end_reset_the_stream(late: bytes) -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST, True) + late)
    assert requests.all[0].reset == (ErrorCode.STREAM_CLOSED, False)
    assert not server.closed


def test_ids_only_grow() -> None:
    server, _ = served()
    server.receive(headers_frame(5, REQUEST) + headers_frame(3, REQUEST))
    assert server.error is not None
    assert server.error[0] == ErrorCode.STREAM_CLOSED


def test_too_large_headers_reach_the_application_which_may_answer() -> None:
    server, requests = served(Http2Limits(header_list_bytes=500))
    server.receive(headers_frame(1, [*REQUEST, (b"x", b"y" * 1000)]))
    block = requests.all[0].blocks[0]
    assert (block.too_large, block.fields) == (True, tuple(REQUEST))
    stream = requests.all[0].stream
    assert stream is not None
    stream.send_all(encode([(b":status", b"431")]), b"", None)
    stream.reset(ErrorCode.NO_ERROR)
    assert [frame[0] for frame in split(take(server))] == [fr.HEADERS, fr.RST_STREAM]
    assert server.streams == {}


def test_too_large_trailers_reset_their_stream() -> None:
    server, requests = served(Http2Limits(header_list_bytes=500))
    server.receive(headers_frame(1, REQUEST) + headers_frame(1, [(b"x", b"y" * 1000)], True))
    assert requests.all[0].reset == (ErrorCode.ENHANCE_YOUR_CALM, False)


def test_a_request_still_comes_after_the_answer() -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST))
    requests.all[0].stream.send_all(encode(RESPONSE), b"early", None)
    server.receive(data_frame(1, b"rest"))
    assert list(server.streams) == [1]
    server.receive(data_frame(1, b"", True))
    assert (server.streams, requests.all[0].body) == ({}, b"rest")


def test_graceful_shutdown() -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST))
    server.goaway()
    server.receive(headers_frame(3, REQUEST))
    assert len(requests.all) == 2
    server.goaway_final()
    server.receive(headers_frame(5, REQUEST))
    goaways = split(take(server))
    assert [fr.parse_goaway(payload)[:2] for kind, _, _, payload in goaways if kind == fr.GOAWAY] == [
        (2**31 - 1, 0),
        (3, 0),
    ]
    assert goaways[-1] == (fr.RST_STREAM, 0, 5, (7).to_bytes(4, "big"))
    for recorder in requests.all:
        recorder.stream.send_all(encode(RESPONSE), b"", None)
    server.receive(data_frame(1, b"", True) + data_frame(3, b"", True))
    assert (server.streams, server.closed, server.error) == ({}, False, None)
    server.receive(fr.ping_frame(b"short"))
    assert fr.parse_goaway(split(take(server))[-1][3])[0] == 3, "the last id never grows"


def test_a_clients_goaway_changes_nothing_for_open_streams() -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST) + fr.goaway_frame(0, 0) + data_frame(1, b"x", True))
    assert (server.goaway_received, requests.all[0].ended) == (True, True)
    assert "ServerConnection(1 streams" in repr(server)
