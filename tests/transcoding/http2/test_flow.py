"""Sending windows, queues and turns."""

from __future__ import annotations

from tests.support.http2 import REQUEST, RESPONSE, Requests, headers_frame, served, split, take
from transcoding.http2 import HIGH_WATER, LOW_WATER, ServerConnection, Stream, encode
from transcoding.http2 import frames as fr
from transcoding.http2.flow import Outbox

HEAD = encode(RESPONSE)


def opened(*streams: int, window: int = 2**31 - 1) -> tuple[ServerConnection, list[Stream]]:
    """A server with these streams open, whose client gives each stream `window` bytes."""
    server, requests = served()
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, window)]))
    for stream in streams:
        server.receive(headers_frame(stream, REQUEST, True))
    take(server)
    made = [recorder.stream for recorder in requests.all if recorder.stream is not None]
    for stream in made:
        stream.send_headers(HEAD)
    take(server)
    return server, made


def data(server: ServerConnection) -> list[tuple[int, int, int]]:
    """Stream, size and flags of the DATA frames that wait to be written."""
    return [(stream, len(body), flags) for kind, flags, stream, body in split(take(server)) if kind == fr.DATA]


def test_an_outbox_gives_pieces_in_order_without_copying() -> None:
    outbox, source = Outbox(), bytes(range(100))
    outbox.put(source)
    outbox.put(b"")
    outbox.put(b"tail")
    first = outbox.take(60)
    assert (bytes(first), first.obj is source, outbox.size) == (source[:60], True, 44)
    assert [bytes(outbox.take(60)), bytes(outbox.take(60)), outbox.size] == [source[60:], b"tail", 0]


def test_data_is_cut_to_frames_and_stops_at_the_connections_window() -> None:
    server, (stream,) = opened(1)
    stream.send_data(bytes(70_000), True)
    assert data(server) == [(1, 16_384, 0)] * 3 + [(1, 16_383, 0)]
    assert stream.queued == 70_000 - 65_535
    server.receive(fr.window_update(0, 4000))
    server.receive(fr.window_update(0, 65_535))
    assert data(server) == [(1, 4000, 0), (1, 465, fr.END_STREAM)]
    assert not server.streams


def test_data_stops_at_the_streams_window() -> None:
    server, (stream,) = opened(1, window=10)
    stream.send_data(b"x" * 25)
    assert data(server) == [(1, 10, 0)]
    server.receive(fr.window_update(1, 14))
    assert data(server) == [(1, 14, 0)]
    stream.send_data(b"yz", True)
    server.receive(fr.window_update(1, 100))
    assert data(server) == [(1, 1, 0), (1, 2, fr.END_STREAM)]


def test_streams_take_turns_when_the_connections_window_opens() -> None:
    server, (one, two, three) = opened(1, 3, 5)
    one.send_data(bytes(165_535))
    two.send_data(bytes(50_000))
    three.send_data(bytes(10_000))
    assert sum(size for _, size, _ in data(server)) == 65_535
    server.receive(fr.window_update(0, 75_536))
    assert [stream for stream, _, _ in data(server)] == [1, 3, 5, 1, 3]
    server.receive(fr.window_update(0, 1_000_000))
    assert {stream.queued for stream in (one, two, three)} == {0}


def test_a_stream_that_its_own_window_blocks_holds_up_nobody() -> None:
    server, (one, two) = opened(1, 3, window=100)
    one.send_data(bytes(500))
    two.send_data(bytes(100))
    assert data(server) == [(1, 100, 0), (3, 100, 0)]
    assert not server.sending.turns


def test_windows_follow_the_initial_size_below_zero_and_back() -> None:
    server, (stream,) = opened(1, window=1000)
    stream.send_data(bytes(800))
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 100)]))
    assert stream.send_window == -700
    take(server)
    stream.send_data(bytes(50))
    server.receive(fr.window_update(1, 700))
    assert data(server) == []
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 120)]))
    assert data(server) == [(1, 20, 0)]
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 1000)]))
    assert data(server) == [(1, 30, 0)]


def test_settings_are_acknowledged_before_what_they_allow() -> None:
    server, (stream,) = opened(1, window=0)
    stream.send_data(b"x")
    assert take(server) == b""
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 1)]))
    assert [kind for kind, *_ in split(take(server))] == [fr.SETTINGS, fr.DATA]


def test_an_empty_end_passes_a_closed_window() -> None:
    server, (stream,) = opened(1, window=0)
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 0)]))
    take(server)
    stream.send_data(b"", True)
    assert data(server) == [(1, 0, fr.END_STREAM)]


def test_writers_hear_when_the_queue_is_short_again() -> None:
    server, requests = served()
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 0)]) + headers_frame(1, REQUEST))
    recorder = requests.all[0]
    stream = recorder.stream
    assert stream is not None
    stream.send_headers(HEAD)
    stream.send_data(bytes(HIGH_WATER))
    server.receive(fr.window_update(1, HIGH_WATER))
    assert recorder.writable_calls == 0, "it never was above the high mark"
    stream.send_data(bytes(HIGH_WATER + 1))
    server.receive(fr.window_update(0, 2**20))
    server.receive(fr.window_update(1, HIGH_WATER - LOW_WATER + 1))
    assert (stream.queued, recorder.writable_calls) == (LOW_WATER, 0)
    server.receive(fr.window_update(1, 1))
    server.receive(fr.window_update(1, 1))
    assert recorder.writable_calls == 1


def test_writing_more_from_writable_keeps_the_order() -> None:
    class Refill(Requests):
        left = 3

    requests = Refill()
    server, _ = served()
    server._accept = requests
    server.receive(fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 0)]) + headers_frame(1, REQUEST, True))
    stream = requests.all[0].stream
    assert stream is not None
    stream.send_headers(HEAD)
    wrote = bytearray()

    def more() -> None:
        chunk = bytes((requests.left,)) * (HIGH_WATER + 1)
        requests.left -= 1
        wrote.extend(chunk)
        stream.send_data(chunk, requests.left == 0)

    requests.all[0].writable = more
    more()
    take(server)
    server.receive(fr.window_update(0, 2**24))
    for _ in range(20):
        server.receive(fr.window_update(1, 20_000))
    assert b"".join(body for kind, _, _, body in split(take(server)) if kind == fr.DATA) == wrote
    assert not server.streams


def test_large_buffers_are_not_copied() -> None:
    server, (stream,) = opened(1)
    body = bytes(10_000)
    stream.send_data(body)
    assert any(piece is body for piece in server.outgoing)
    server.outgoing.clear()
    big = bytes(40_000)
    stream.send_data(big)
    assert all(piece.obj is big for piece in server.outgoing if isinstance(piece, memoryview))
