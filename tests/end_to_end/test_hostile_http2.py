"""HTTP/2 by clients that attack: H1 to H6 of the adversarial suite, as far as they need no gRPC.

A connection that only costs is ended with GOAWAY, a stream that asks for too much with an answer; what was begun is
cancelled, memory stays where it was, and somebody else notices nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tests.support.deadline import until
from tests.support.hostile import MIB, SCALE, HostileGateway
from tests.support.raw_client import BODY, INFER, get
from tests.support.rude_http2 import data, grpc_headers, headers, request_headers, rest_request
from transcoding.http2 import encode
from transcoding.http2 import frames as fr
from transcoding.http2.errors import ErrorCode

pytestmark = pytest.mark.usefixtures("bystander")

SLOW = "/v2/models/slow/infer"
CALM = int(ErrorCode.ENHANCE_YOUR_CALM)


def flood(hostile: HostileGateway, frames: Iterator[bytes], pieces: int = 200, per_piece: int = 1000) -> int | None:
    """Send frames as fast as they go, on several connections one after the other; the code of the last GOAWAY."""
    code = None
    for _ in range(3 * SCALE):
        with hostile.http2() as client:
            client.send_what_fits(b"".join(next(frames) for _ in range(per_piece)) for _ in range(pieces))
            code = client.goaway_code()
    return code


def resets(body: bytes) -> Iterator[bytes]:
    """Requests that are reset at once."""
    while True:
        for stream in range(1, 2**31, 2):
            yield rest_request(stream, body, SLOW) + fr.rst_stream(stream, 8)


@pytest.mark.parametrize("body", [BODY, b""], ids=["whole", "empty"])
def test_h1_rapid_reset(hostile: HostileGateway, body: bytes) -> None:
    """Requests that are reset before they are begun never reach a worker, and soon the connection is gone."""
    hostile.backend.release.set()
    begun, used = hostile.backend.requests["slow"], hostile.cpu_seconds()
    with hostile.memory_within(8 * MIB):
        for _ in range(5 * SCALE):
            with hostile.http2() as client:
                frames = resets(body)
                client.send_what_fits(b"".join(next(frames) for _ in range(1000)) for _ in range(20))
                assert client.goaway_code() == CALM
    assert hostile.backend.requests["slow"] - begun <= 1000 * SCALE
    assert hostile.cpu_seconds() - used < 5.0 * SCALE


def test_h1_rapid_reset_of_work_that_has_begun_cancels_it(hostile: HostileGateway) -> None:
    hostile.backend.release.clear()
    with hostile.http2() as client:
        for stream in range(1, 41, 2):
            client.send(rest_request(stream, path=SLOW))
        until(lambda: hostile.backend.active >= 20)
        client.send(b"".join(fr.rst_stream(stream, 8) for stream in range(1, 41, 2)))
        until(lambda: hostile.backend.active == 0)
        client.send(headers(41, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(41).status == 200
    hostile.backend.release.set()


@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        (fr.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
        (fr.window_update(1, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (data(1, b"more"), ErrorCode.STREAM_CLOSED),
        (headers(1, request_headers()), ErrorCode.STREAM_CLOSED),
        (fr.frame(fr.PRIORITY, 0, 1, b"1234"), ErrorCode.FRAME_SIZE_ERROR),
    ],
    ids=["increment of 0", "window overflow", "DATA after the end", "HEADERS after the end", "short PRIORITY"],
)
def test_h2_streams_that_we_are_made_to_reset_cancel_their_work(
    hostile: HostileGateway, mistake: bytes, code: ErrorCode
) -> None:
    """MadeYouReset, CVE-2025-8671: and those that do it over and over lose the connection."""
    hostile.backend.release.clear()
    cancelled = hostile.backend.cancelled
    with hostile.http2() as client:
        client.send(rest_request(1, path=SLOW))
        until(lambda: hostile.backend.active > 0)
        client.send(mistake)
        assert client.finish(1).reset == code
        until(lambda: hostile.backend.cancelled > cancelled)
        for stream in range(3, 3000, 2):
            again = mistake[:5] + struct.pack(">I", stream) + mistake[9:]
            if not client.send_what_fits([rest_request(stream, path=SLOW) + again]):
                break
        assert client.goaway_code() == CALM
    until(lambda: hostile.backend.active == 0)
    hostile.backend.release.set()


@pytest.mark.parametrize("piece", [b"", b"\x82", encode([(b"x", b"a" * 16000)])], ids=["empty", "byte", "16 KB"])
def test_h3_continuation_flood(hostile: HostileGateway, piece: bytes) -> None:
    with hostile.memory_within(4 * MIB):
        for _ in range(5 * SCALE):
            with hostile.http2() as client:
                client.send(fr.frame(fr.HEADERS, 0, 1, b"\x82"))
                client.send_what_fits([fr.frame(fr.CONTINUATION, 0, 1, piece) * 20] * 500)
                assert client.goaway_code() == CALM


def test_h4_hpack_bombs(hostile: HostileGateway) -> None:
    """Before it acknowledges our table size of 0 a client may fill 4096 bytes, and then repeat them at a byte each."""
    fill = b"\x40\x01x\x7f\xa1\x1e" + b"a" * 4000
    with hostile.memory_within(4 * MIB):
        for _ in range(10 * SCALE):
            with hostile.http2(greet=False) as client:
                client.send(fr.PREFACE + fr.settings_frame(()))
                head = encode(request_headers("/v2/health/live", method="GET"))
                client.send(fr.frame(fr.HEADERS, fr.END_HEADERS | fr.END_STREAM, 1, head + fill + b"\xbe" * 12_000))
                assert client.finish(1).status == 431


@pytest.mark.parametrize("fields", [128, 200])
def test_h4_large_metadata(hostile: HostileGateway, fields: int) -> None:
    """Too many bytes, or too many fields: a REST client is told 431 and a gRPC client RESOURCE_EXHAUSTED."""
    more = [(b"x%d" % index, b"a" * (500 if fields == 128 else 1)) for index in range(fields)]
    with hostile.http2() as client:
        client.send(headers_in_pieces(1, request_headers("/v2", *more, method="GET")))
        assert client.finish(1).status == 431
        client.send(headers_in_pieces(3, grpc_headers("ServerLive", *more)))
        assert client.finish(3).grpc_status == 8
        client.send(headers(5, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(5).status == 200


def headers_in_pieces(stream: int, fields: list[tuple[bytes, bytes]]) -> bytes:
    """HEADERS, and CONTINUATION frames where it needs them, that end the stream."""
    block = encode(fields)
    pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    frames = [
        fr.frame(fr.CONTINUATION if index else fr.HEADERS, 0, stream, piece) for index, piece in enumerate(pieces)
    ]
    first = bytearray(frames[0])
    first[4] |= fr.END_STREAM
    frames[0] = bytes(first)
    last = bytearray(frames[-1])
    last[4] |= fr.END_HEADERS
    frames[-1] = bytes(last)
    return b"".join(frames)


USELESS = {
    "SETTINGS": fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 100_000)]),
    "empty SETTINGS": fr.settings_frame(()),
    "large SETTINGS": fr.settings_frame([(fr.INITIAL_WINDOW_SIZE, 1)] * 2000),
    "SETTINGS acknowledgements": fr.SETTINGS_ACK,
    "PING": fr.ping_frame(b"12345678"),
    "PING acknowledgements": fr.ping_frame(b"12345678", ack=True),
    "WINDOW_UPDATE": fr.window_update(0, 1),
    "PRIORITY": fr.frame(fr.PRIORITY, 0, 3, b"\0\0\0\0\0"),
    "unknown frames": fr.frame(0xEE, 0, 0, b"x"),
    "GOAWAY": fr.goaway_frame(0, 0),
    "ALTSVC of 16 KB": fr.frame(0x0A, 0, 0, bytes(16_000)),
}


@pytest.mark.parametrize("kind", USELESS)
def test_h5_floods_of_frames_without_use(hostile: HostileGateway, kind: str) -> None:
    frame = USELESS[kind]

    def frames() -> Iterator[bytes]:
        while True:
            yield frame

    used = hostile.cpu_seconds()
    with hostile.memory_within(8 * MIB):
        assert flood(hostile, frames(), per_piece=100 if len(frame) > 100 else 1000) == CALM
    assert hostile.cpu_seconds() - used < 5.0 * SCALE


def test_h5_empty_data(hostile: HostileGateway) -> None:
    with hostile.memory_within(4 * MIB), hostile.http2() as client:
        client.send(headers(1, request_headers()))
        client.send_what_fits([data(1, b"") * 1000] * 200)
        assert client.goaway_code() == CALM


def test_h5_acknowledgements_that_are_not_read_stop_the_reading(hostile: HostileGateway) -> None:
    """PING within the budget, by a client that reads nothing: it is not read either, and closed when that lasts."""
    with hostile.memory_within(8 * MIB), hostile.http2("hasty", receive_buffer=4096) as client:
        client.send_what_fits([fr.ping_frame(b"12345678") * 400] * 200)
        assert client.closed()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_tiny_data_frames_take_no_more_memory_than_they_bring(hostile: HostileGateway, size: int) -> None:
    """A body in frames of a few bytes; each Python object would be larger than that."""
    frames, body = 100_000 // size * 10, bytes(size)
    with hostile.memory_within(6 * MIB), hostile.http2() as client:
        client.send(headers(1, request_headers()))
        sent = 0
        while sent < frames:
            client.send(data(1, body) * 5000)
            sent += 5000
        client.send(data(1, b"", True))
        assert client.finish(1).status == 400


def test_bodies_do_not_keep_alive_what_was_read_with_them(hostile: HostileGateway) -> None:
    """A KB for each of some streams, among a megabyte for one that was refused."""
    with hostile.memory_within(10 * MIB), hostile.http2() as client:
        streams = range(1, 101, 2)
        client.send(b"".join(headers(stream, request_headers()) for stream in streams))
        refused = fr.frame(0xEE, 0, 0, bytes(16_000)) * 15
        for stream in streams:
            client.send(data(stream, bytes(1100)) + refused)
        client.send(b"".join(data(stream, b"x", True) for stream in streams))
        assert {client.finish(stream).status for stream in streams} == {400}


@pytest.mark.parametrize("announced", [False, True], ids=["sent", "announced"])
def test_h6_bodies_above_the_limit(hostile: HostileGateway, announced: bool) -> None:
    with hostile.memory_within(4 * MIB), hostile.http2("small") as client:
        more = [(b"content-length", b"70000")] if announced else []
        client.send(headers(1, request_headers(INFER, *more)))
        if not announced:
            client.send(b"".join(data(1, bytes(10_000)) for _ in range(7)))
        assert client.finish(1).status == 413
        client.send(headers(3, request_headers("/v2/health/live", method="GET"), True))
        assert client.finish(3).status == 200


@pytest.mark.parametrize(("length", "body"), [(b"5", b"abc"), (b"2", b"abc"), (b"3", b"")])
def test_wrong_content_lengths(hostile: HostileGateway, length: bytes, body: bytes) -> None:
    executed = hostile.backend.requests["big"]
    with hostile.http2() as client:
        fields = request_headers("/v2/models/big/infer", (b"content-length", length))
        client.send(headers(1, fields) + data(1, body, True))
        assert client.finish(1).reset == ErrorCode.PROTOCOL_ERROR
    assert hostile.backend.requests["big"] == executed


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"content-length", b"1"), (b"content-length", b"1")], None),
        ([(b"transfer-encoding", b"chunked")], None),
        ([(b"connection", b"close")], None),
        ([(b"x", b"a\r\nb")], None),
        ([(b"X", b"a")], None),
        ([(b"host", b"other")], 400),
        ([(b"authorization", b"a"), (b"authorization", b"b")], 400),
        ([(b"expect", b"tea")], 417),
    ],
    ids=lambda value: str(value[0][0]) if isinstance(value, list) else "",
)
def test_malformed_heads(hostile: HostileGateway, fields: list[tuple[bytes, bytes]], status: int | None) -> None:
    with hostile.http2() as client:
        client.send(headers(1, request_headers("/v2/health/live", *fields, method="GET"), True))
        outcome = client.finish(1)
        assert outcome.reset == ErrorCode.PROTOCOL_ERROR if status is None else outcome.status == status


def test_methods_and_targets_as_in_http_1(hostile: HostileGateway) -> None:
    with hostile.http2() as client:
        for stream, method, target, status in (
            (1, "TRACE", "/v2", 405),
            (3, "get", "/v2", 405),
            (5, "GET", "/v2/models/" + "a" * 10_000, 414),
        ):
            client.send(headers(stream, request_headers(target, method=method), True))
            assert client.finish(stream).status == status


def test_continue_is_sent_to_who_waits_for_it(hostile: HostileGateway) -> None:
    with hostile.http2() as client:
        client.send(headers(1, request_headers(INFER, (b"expect", b"100-continue"))))
        while not client.outcome(1).headers:
            client.read_frame()
        assert client.outcome(1).headers[0][":status"] == "100"
        client.send(data(1, BODY, True))
        assert client.finish(1).status == 200


def test_streams_above_the_limit_are_refused(hostile: HostileGateway) -> None:
    hostile.backend.release.clear()
    with hostile.http2("small") as client:
        for stream in range(1, 41, 2):
            client.send(rest_request(stream, path=SLOW))
        assert [client.finish(stream).reset for stream in range(17, 41, 2)] == [ErrorCode.REFUSED_STREAM] * 12
        hostile.backend.release.set()
        assert [client.finish(stream).status for stream in range(1, 17, 2)] == [200] * 8


def test_one_connection_cannot_take_all_the_room_there_is_for_bodies(hostile: HostileGateway) -> None:
    """256 KiB for all, 64 KiB for one body: one connection gets half of it, and another still has room."""
    body = bytes(40_000)
    with hostile.http2("small") as greedy, hostile.http2("small") as other:
        for stream in range(1, 17, 2):
            greedy.send(headers(stream, request_headers()) + b"".join(data(stream, body[:10_000]) for _ in range(4)))
        statuses = [greedy.finish(stream).headers[0][":status"] for stream in range(9, 17, 2)]
        assert "503" in statuses
        other.send(headers(1, request_headers()) + b"".join(data(1, body[:10_000]) for _ in range(4)))
        other.send(data(1, BODY, True))
        assert other.finish(1).status == 400


def test_http_1_behind_a_preface(hostile: HostileGateway) -> None:
    with hostile.http2(greet=False) as client:
        client.send(fr.PREFACE + get())
        assert client.goaway_code() in (ErrorCode.FRAME_SIZE_ERROR, ErrorCode.PROTOCOL_ERROR)
