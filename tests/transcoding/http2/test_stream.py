"""One stream: what it writes and gives back."""

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
    served,
    split,
    take,
)
from transcoding.http2 import ErrorCode, Http2Limits, ServerConnection, Stream, encode
from transcoding.http2 import frames as fr
from transcoding.http2.headers import response_block
from transcoding.http2.stream import NOBODY

HEAD, TAIL = encode(RESPONSE), encode(TRAILERS)


def opened(
    limits: Http2Limits | None = None, ended: bool = False, consume: bool = False
) -> tuple[ServerConnection, Stream, Recorder]:
    server, requests = served(limits, consume)
    server.receive(headers_frame(1, REQUEST, ended))
    recorder = requests.all[0]
    assert recorder.stream is not None
    return server, recorder.stream, recorder


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 40_000, 100_000])
@pytest.mark.parametrize("trailers", [None, TAIL])
@pytest.mark.parametrize("fresh", [True, False])
def test_send_all_writes_the_same_as_its_parts(size: int, trailers: bytes | None, fresh: bool) -> None:
    def frames(whole: bool) -> list[tuple[int, int, int, bytes]]:
        server, requests = served()
        if not fresh:
            server.receive(headers_frame(1, REQUEST, True))
            requests.all[0].stream.send_headers(HEAD, True)
            take(server)
        server.receive(headers_frame(3, REQUEST, True))
        stream = requests.all[-1].stream
        assert stream is not None
        if whole:
            stream.send_all(HEAD, bytes(size), trailers)
        else:
            stream.send_headers(HEAD, not size and trailers is None)
            if size:
                stream.send_data(bytes(size), trailers is None)
            if trailers is not None:
                stream.send_headers(trailers, True)
        server.receive(fr.window_update(0, 1_000_000) + fr.window_update(3, 1_000_000))
        assert not server.streams
        return split(take(server))

    assert frames(True) == frames(False)


def test_headers_beyond_a_frame_go_on_in_continuations() -> None:
    server, stream, _ = opened(ended=True)
    stream.send_headers(HEAD)
    take(server)
    block = encode([(b"x-long", b"v" * 40_000)])
    stream.send_headers(block, True)
    got = split(take(server))
    assert [(kind, flags) for kind, flags, _, _ in got] == [
        (fr.HEADERS, fr.END_STREAM),
        (fr.CONTINUATION, 0),
        (fr.CONTINUATION, fr.END_HEADERS),
    ]
    assert b"".join(payload for *_, payload in got) == block


def test_long_headers_arrive() -> None:
    limits = Http2Limits(header_list_bytes=100_000)
    client, server, requests = pair(limits, limits)
    call = Recorder()
    call.stream = client.open(call)
    fields = [*REQUEST, (b"x-long", b"v" * 50_000)]
    call.stream.send_all(encode(fields), b"", None)
    exchange(client, server)
    assert requests.all[0].headers == [tuple(fields)]


def test_trailers_wait_for_queued_data() -> None:
    server, stream, _ = opened(ended=True)
    stream.send_all(HEAD, bytes(65_536), TAIL)
    assert split(take(server))[-1][:2] == (fr.DATA, 0)
    assert server.streams
    server.receive(fr.window_update(0, 10) + fr.window_update(1, 10))
    assert [frame[:2] for frame in split(take(server))] == [(fr.DATA, 0), (fr.HEADERS, fr.END_HEADERS | fr.END_STREAM)]
    assert not server.streams


def test_sending_after_the_end_is_a_bug_and_after_a_reset_is_nothing() -> None:
    server, stream, recorder = opened()
    stream.send_all(HEAD, b"x", TAIL)
    for send in (
        lambda: stream.send_data(b"x"),
        lambda: stream.send_headers(TAIL, True),
        lambda: stream.send_all(HEAD, b"", None),
    ):
        with pytest.raises(RuntimeError, match="sent after its end"):
            send()
    server.receive(fr.rst_stream(1, 8))
    assert recorder.reset == (8, True)
    take(server)
    stream.send_data(b"x", True)
    stream.send_headers(TAIL, True)
    stream.send_all(HEAD, b"x", TAIL)
    stream.reset(8)
    assert take(server) == b""


def test_headers_do_not_belong_between_queued_data() -> None:
    _, stream, _ = opened()
    stream.send_headers(HEAD)
    stream.send_data(bytes(100_000))
    with pytest.raises(RuntimeError, match="in the middle"):
        stream.send_headers(TAIL)


def test_reset_drops_what_is_queued() -> None:
    server, stream, recorder = opened()
    stream.send_headers(HEAD)
    stream.send_data(bytes(100_000), True)
    take(server)
    stream.reset(ErrorCode.CANCEL)
    server.receive(fr.window_update(0, 1_000_000))
    assert split(take(server)) == [(fr.RST_STREAM, 0, 1, b"\0\0\0\x08")]
    assert (stream.queued, recorder.reset, server.streams) == (0, None, {})


def test_window_updates_are_batched() -> None:
    limits = Http2Limits(stream_window=100_000, connection_window=200_000)
    server, stream, _ = opened(limits)
    for _ in range(5):
        server.receive(data_frame(1, bytes(10_000)))
    stream.consumed(49_999)
    assert take(server) == b""
    stream.consumed(1)
    assert split(take(server)) == [(fr.WINDOW_UPDATE, 0, 1, (50_000).to_bytes(4, "big"))]
    for _ in range(5):
        server.receive(data_frame(1, bytes(10_000)))
    stream.consumed(50_000)
    updates = split(take(server))
    assert [frame[2:] for frame in updates] == [(1, (50_000).to_bytes(4, "big")), (0, (100_000).to_bytes(4, "big"))]


def test_a_body_of_many_windows_passes_when_it_is_consumed() -> None:
    server, stream, recorder = opened(Http2Limits(stream_window=70_000, connection_window=90_000), consume=True)
    for _ in range(100):
        server.receive(data_frame(1, bytes(10_000)))
    assert (len(recorder.body), server.error) == (1_000_000, None)
    assert stream.connection is server


def test_no_stream_window_is_given_back_after_the_end() -> None:
    limits = Http2Limits(stream_window=100_000, connection_window=200_000)
    server, stream, _ = opened(limits)
    for last in (False, False, False, False, False, True):
        server.receive(data_frame(1, bytes(10_000), last))
    stream.consumed(60_000)
    assert take(server) == b""
    assert server.owed == 60_000


@pytest.mark.parametrize("end", ["reset by us", "reset by peer", "finished"])
def test_what_nobody_will_read_goes_back_to_the_connection(end: str) -> None:
    server, stream, _ = opened()
    server.receive(data_frame(1, bytes(1000)))
    stream.consumed(300)
    if end == "reset by us":
        stream.reset(8)
    elif end == "reset by peer":
        server.receive(fr.rst_stream(1, 8))
    else:
        server.receive(data_frame(1, bytes(500), True))
        stream.send_all(HEAD, b"", None)
    expected = 1500 if end == "finished" else 1000
    assert server.owed == expected
    stream.consumed(700)
    stream.reset(8)
    assert server.owed == expected, "nothing is given back twice"


def test_a_client_reads_on_after_the_stream_has_finished() -> None:
    client, server, requests = pair()
    call = Recorder(consume=False)
    call.stream = client.open(call)
    call.stream.send_all(encode(REQUEST), b"", None)
    exchange(client, server)
    requests.all[0].stream.send_all(HEAD, bytes(5000), TAIL)
    exchange(client, server)
    assert (call.ended, client.streams, client.owed) == (True, {}, 0)
    call.stream.consumed(2000)
    assert client.owed == 2000
    call.stream.reset(0)
    assert client.owed == 5000


def test_consuming_more_than_came_gives_back_no_more() -> None:
    server, stream, _ = opened()
    server.receive(data_frame(1, bytes(100)))
    stream.consumed(10_000)
    assert server.owed == 100


def test_nobody_listens_quietly() -> None:
    NOBODY.headers_received(response_block((), []), True)
    NOBODY.data_received(b"", True)
    NOBODY.stream_reset(0, True)
    NOBODY.writable()


@pytest.mark.parametrize("ended", [True, False])
def test_who_answered_last_is_held_no_longer(ended: bool) -> None:
    server, stream, recorder = opened(ended=ended)
    if not ended:
        assert stream.receiver is recorder
        server.receive(data_frame(1, b"x", True))
    assert stream.receiver is recorder
    stream.send_all(HEAD, b"answer", TAIL)
    assert stream.receiver is NOBODY, "a cycle of stream and receiver is for the garbage collector"
