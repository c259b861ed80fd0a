"""Reading frames: order, pieces, header blocks, DATA (RFC 9113 §4 to §6)."""

from __future__ import annotations

import hyperframe.frame as hf
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
    split,
    take,
)
from transcoding.http2 import Connection, ErrorCode, Http2Limits, ServerConnection, encode
from transcoding.http2 import frames as fr
from transcoding.http2.headers import request_block

CONTENT_LENGTH = b"content-length"


def failed(server: ServerConnection, code: ErrorCode) -> None:
    """The connection is closed with this code, and the last frame says so."""
    assert server.error is not None
    assert server.error[0] == code
    assert server.closed
    kind, _, _, payload = split(take(server))[-1]
    assert (kind, fr.parse_goaway(payload)[1]) == (fr.GOAWAY, code)
    server.receive(headers_frame(99, REQUEST))
    assert take(server) == b"", "nothing is answered after GOAWAY"


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 7, 10, 100, 16_000])
def test_calls_pass_however_the_bytes_are_cut(chunk: int) -> None:
    client, server, requests = pair(chunk=chunk)
    calls = []
    for size in (0, 5, 1024, 1025, 30_000):
        call = Recorder()
        call.stream = client.open(call)
        call.stream.send_all(encode(REQUEST), bytes(size), None)
        calls.append(call)
    exchange(client, server, chunk)
    for recorder, size in zip(requests.all, (0, 5, 1024, 1025, 30_000), strict=True):
        assert (recorder.headers, recorder.body, recorder.ended) == ([tuple(REQUEST)], bytes(size), True)
        assert recorder.stream is not None
        recorder.stream.send_all(encode(RESPONSE), b"y" * size, encode(TRAILERS))
    exchange(client, server, chunk)
    for call, size in zip(calls, (0, 5, 1024, 1025, 30_000), strict=True):
        assert (call.headers, call.body) == ([tuple(RESPONSE), tuple(TRAILERS)], b"y" * size)
        assert call.ended
    assert (client.streams, server.streams) == ({}, {})


def test_what_is_held_is_one_frame_at_most() -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST))
    frame = data_frame(1, bytes(16_384))
    for at in range(0, len(frame) - 1, 5):
        server.receive(frame[at : min(at + 5, len(frame) - 1)])
    assert len(server._held) == len(frame) - 1
    server.receive(frame[-1:] + frame * 3 + frame[:100])
    assert (len(requests.all[0].body), len(server._held)) == (4 * 16_384, 100)


def test_large_data_comes_as_views_and_small_as_bytes() -> None:
    kinds: list[type] = []

    class Looking(Recorder):
        def data_received(self, data: bytes | memoryview, end_stream: bool) -> None:
            kinds.append(type(data))

    server = ServerConnection(Http2Limits(), lambda *_: Looking())
    server.receive(fr.PREFACE + fr.settings_frame(()) + headers_frame(1, REQUEST))
    server.receive(data_frame(1, bytes(1024)) + data_frame(1, bytes(1025)))
    assert kinds == [bytes, memoryview]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (fr.frame(fr.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(0, REQUEST), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(2, REQUEST), ErrorCode.PROTOCOL_ERROR),
        (data_frame(1, b"x"), ErrorCode.PROTOCOL_ERROR),
        (data_frame(2, b"x"), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
        (fr.frame(0xEE, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
        (fr.frame(fr.HEADERS, fr.END_HEADERS, 1, b"\xbe"), ErrorCode.COMPRESSION_ERROR),
        (fr.frame(fr.HEADERS, fr.END_HEADERS | fr.PADDED, 1, b""), ErrorCode.FRAME_SIZE_ERROR),
        (fr.frame(fr.HEADERS, fr.END_HEADERS | fr.PADDED, 1, b"\x09a"), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.HEADERS, fr.END_HEADERS | fr.WITH_PRIORITY, 1, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
        (fr.frame(fr.CONTINUATION, fr.END_HEADERS, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(1, REQUEST, flags=0) + fr.ping_frame(bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(1, REQUEST, flags=0) + data_frame(1, b""), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(1, REQUEST, flags=0) + headers_frame(1, REQUEST), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(1, REQUEST, flags=0) + fr.frame(0xEE, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (headers_frame(1, REQUEST, flags=0) + fr.frame(fr.CONTINUATION, 4, 3), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (fr.frame(fr.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_mistakes_that_end_the_connection(data: bytes, code: ErrorCode) -> None:
    server, _ = served()
    server.receive(data)
    failed(server, code)


@pytest.mark.parametrize("cut", [1, 9, 10, 40])
def test_mistakes_are_found_in_pieces_too(cut: int) -> None:
    server, _ = served()
    data = headers_frame(1, REQUEST) + headers_frame(2, REQUEST)
    server.receive(data[:cut])
    server.receive(data[cut:])
    failed(server, ErrorCode.PROTOCOL_ERROR)


def test_an_oversized_frame_is_refused_before_it_is_read() -> None:
    server, _ = served()
    server.receive(fr.HEAD.pack(16_385 << 8, 0, 1))
    failed(server, ErrorCode.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("first", [fr.SETTINGS_ACK, fr.ping_frame(bytes(8)), headers_frame(1, REQUEST)])
def test_the_first_frame_is_settings(first: bytes) -> None:
    server = ServerConnection(Http2Limits(), Requests())
    server.receive(fr.PREFACE + first)
    failed(server, ErrorCode.PROTOCOL_ERROR)


def test_headers_with_padding_and_priority() -> None:
    server, requests = served()
    frame = hf.HeadersFrame(1, encode(REQUEST), pad_length=7, depends_on=0, stream_weight=9)
    frame.flags |= {"PADDED", "PRIORITY", "END_HEADERS", "END_STREAM"}
    server.receive(frame.serialize())
    assert (requests.all[0].headers, requests.all[0].ended) == ([tuple(REQUEST)], True)


@pytest.mark.parametrize("pieces", [2, 5, 17])
def test_header_blocks_in_continuations(pieces: int) -> None:
    server, requests = served()
    block = encode([*REQUEST, (b"x", b"y" * 500)])
    size = -(-len(block) // pieces)
    cut = [block[at : at + size] for at in range(0, len(block), size)]
    server.receive(fr.frame(fr.HEADERS, fr.END_STREAM, 1, cut[0]))
    for piece in cut[1:-1]:
        server.receive(fr.frame(fr.CONTINUATION, 0, 1, piece))
    assert not requests.all
    server.receive(fr.frame(fr.CONTINUATION, fr.END_HEADERS, 1, cut[-1]) + headers_frame(3, REQUEST))
    assert requests.all[0].headers == [(*REQUEST, (b"x", b"y" * 500))]
    assert [one.ended for one in requests.all] == [True, False]


def test_padded_data_arrives_without_its_padding_which_is_given_back() -> None:
    server, requests = served(consume=False)
    server.receive(headers_frame(1, REQUEST))
    server.receive(fr.frame(fr.DATA, fr.PADDED, 1, b"\x05hello" + bytes(5)))
    server.receive(fr.frame(fr.DATA, fr.PADDED | fr.END_STREAM, 1, b"\x00"))
    assert (requests.all[0].body, requests.all[0].ended) == (b"hello", True)
    assert (server.received, server.owed) == (12, 7)


def test_empty_data_ends_a_stream_and_is_otherwise_not_delivered() -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST) + data_frame(1, b""))
    assert not requests.all[0].ended
    server.receive(data_frame(1, b"", True))
    assert requests.all[0].ended


def test_unknown_flags_are_ignored() -> None:
    server, requests = served()
    server.receive(fr.frame(fr.HEADERS, fr.END_HEADERS | 0x52, 1, encode(REQUEST)))
    server.receive(fr.frame(fr.DATA, 0xF6 | fr.END_STREAM, 1, b"hello"))
    assert (requests.all[0].body, requests.all[0].ended) == (b"hello", True)


def test_the_reserved_bit_of_a_stream_id_is_ignored() -> None:
    server, requests = served()
    server.receive(fr.frame(fr.HEADERS, fr.END_HEADERS, 1 | 1 << 31, encode(REQUEST)))
    server.receive(fr.frame(fr.DATA, 0, 1 | 1 << 31, b"hello"))
    assert requests.all[0].body == b"hello"


@pytest.mark.parametrize("padded", [False, True])
def test_data_beyond_the_streams_window(padded: bool) -> None:
    server, _ = served(Http2Limits(stream_window=20_000), consume=False)
    server.receive(headers_frame(1, REQUEST) + data_frame(1, bytes(16_000)) + data_frame(1, bytes(4000)))
    assert not server.closed
    server.receive(fr.frame(fr.DATA, fr.PADDED, 1, b"\0") if padded else data_frame(1, b"x"))
    failed(server, ErrorCode.FLOW_CONTROL_ERROR)


def test_data_beyond_the_connections_window() -> None:
    server, _ = served(Http2Limits(connection_window=70_000), consume=False)
    for stream in range(1, 9, 2):
        server.receive(headers_frame(stream, REQUEST) + data_frame(stream, bytes(16_000)))
    server.receive(data_frame(1, bytes(6000)))
    assert not server.closed
    server.receive(data_frame(3, b"x"))
    failed(server, ErrorCode.FLOW_CONTROL_ERROR)


def test_data_for_a_stream_that_we_reset_counts_and_is_given_back() -> None:
    server, requests = served(Http2Limits(connection_window=100_000))
    server.receive(headers_frame(1, REQUEST))
    requests.all[0].stream.reset(ErrorCode.CANCEL)
    take(server)
    for _ in range(50):
        server.receive(data_frame(1, bytes(10_000)))
    server.receive(headers_frame(1, TRAILERS, True))
    assert not server.closed
    assert {frame[0] for frame in split(take(server))} == {fr.WINDOW_UPDATE}


@pytest.mark.parametrize("late", [data_frame(1, b"x"), headers_frame(1, TRAILERS, True)])
def test_frames_on_a_finished_stream_end_the_connection(late: bytes) -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST, True))
    requests.all[0].stream.send_all(encode(RESPONSE), b"", None)
    server.receive(late)
    failed(server, ErrorCode.STREAM_CLOSED)


@pytest.mark.parametrize("late", [fr.rst_stream(1, 8), fr.window_update(1, 1), fr.window_update(1, 0)])
def test_harmless_frames_on_a_finished_stream_are_ignored(late: bytes) -> None:
    server, requests = served()
    server.receive(headers_frame(1, REQUEST, True))
    requests.all[0].stream.send_all(encode(RESPONSE), b"", None)
    server.receive(late)
    assert not server.closed


@pytest.mark.parametrize(
    ("length", "frames", "good"),
    [
        (5, [(b"hello", True)], True),
        (5, [(b"he", False), (b"llo", True)], True),
        (5, [(b"hello", False), (b"", True)], True),
        (0, [(b"", True)], True),
        (5, [(b"hell", True)], False),
        (5, [(b"hello!", False)], False),
        (5, [(b"hello", False), (b"!", True)], False),
        (5, [(b"", True)], False),
        (0, [(b"x", False)], False),
    ],
)
def test_content_length_is_held_against_the_data(length: int, frames: list[tuple[bytes, bool]], good: bool) -> None:
    server, requests = served()
    server.receive(headers_frame(1, [*REQUEST, (CONTENT_LENGTH, b"%d" % length)]))
    for body, ended in frames:
        server.receive(data_frame(1, body, ended))
    assert requests.all[0].reset == (None if good else (ErrorCode.PROTOCOL_ERROR, False))
    assert requests.all[0].ended == good
    assert not server.closed


def test_a_receiver_may_close_the_connection() -> None:
    class Closing(Recorder):
        def data_received(self, data: bytes | memoryview, end_stream: bool) -> None:
            server.goaway(ErrorCode.INTERNAL_ERROR, debug=b"bug")

    recorder = Closing()
    server = ServerConnection(Http2Limits(), lambda *_: recorder)
    server.receive(fr.PREFACE + fr.settings_frame(()) + headers_frame(1, REQUEST))
    server.receive(data_frame(1, b"x") * 3 + headers_frame(3, REQUEST))
    assert recorder.reset == (ErrorCode.INTERNAL_ERROR, False)
    failed(server, ErrorCode.INTERNAL_ERROR)


def test_the_base_has_no_role() -> None:
    base = Connection(Http2Limits(), request_block)
    with pytest.raises(NotImplementedError):
        base.start()
    with pytest.raises(NotImplementedError):
        base.receive(fr.settings_frame(()) + headers_frame(1, REQUEST))
