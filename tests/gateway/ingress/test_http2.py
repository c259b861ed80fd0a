"""An HTTP/2 connection between its socket and its streams: writes, deadlines, shares, and an end that loses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.schema import Deadlines, Limits
from gateway.ingress.exchange import Response
from gateway.ingress.http2 import LAST_PING_SECONDS, Http2, is_grpc
from gateway.ingress.linger import STALL_BYTES, Linger
from gateway.ingress.listener import DRAIN_IDLE
from tests.support.http2 import Recorder
from tests.support.ingress import Http2Client, Ingress, an_ingress
from tests.support.rude_http2 import LARGE_WINDOW, data, grpc_headers, headers, request_headers, rest_request
from transcoding.http2 import frames as fr
from transcoding.http2.errors import ErrorCode
from transcoding.http2.headers import HeaderBlock, request_block

HEADER, BODY_SECONDS, IDLE, STALL = 2.0, 3.0, 10.0, 4.0
DEADLINES = Deadlines(header=HEADER, body=BODY_SECONDS, idle=IDLE, write_stall=STALL)
LAST = 2**31 - 1
CALM = int(ErrorCode.ENHANCE_YOUR_CALM)


@pytest.fixture
def ingress() -> Iterator[Ingress]:
    with an_ingress(deadlines=DEADLINES) as made:
        yield made


def a_get(stream: int, path: str = "/") -> bytes:
    return headers(stream, request_headers(path, method="GET"), True)


def block_of(content_type: bytes | None) -> HeaderBlock:
    fields = [(b":method", b"POST")] + ([] if content_type is None else [(b"content-type", content_type)])
    return request_block(tuple(fields), ())


class TestProtocols:
    @pytest.mark.parametrize(
        ("content_type", "grpc"),
        [
            (b"application/grpc", True),
            (b"application/grpc+proto", True),
            (b"application/grpc;charset=utf-8", True),
            (b"application/grpc-web", False),
            (b"application/grpc-web+proto", False),
            (b"application/grpcx", False),
            (b"application/json", False),
            (b"", False),
            (None, False),
        ],
    )
    def test_the_content_type_says_grpc(self, content_type: bytes | None, grpc: bool) -> None:
        assert is_grpc(block_of(content_type)) == grpc

    def test_both_on_one_connection(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, grpc_headers("NoSuchMethod")) + a_get(3, "/rest"))
        assert client.finish(1).grpc_status == 12
        assert client.finish(3).status == 200
        assert ingress.service.targets == ["/rest"]


class TestWrites:
    def test_what_one_read_causes_leaves_in_one_write(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.read()
        before = client.transport.writes
        client.send(b"".join(a_get(stream) for stream in range(1, 21, 2)) + fr.ping_frame(b"12345678"))
        assert client.transport.writes - before <= 3  # the acknowledgement, and the answers a turn or two later
        assert [client.finish(stream).status for stream in range(1, 21, 2)] == [200] * 10
        assert client.pongs == 1

    def test_the_greeting_needs_no_request(self, ingress: Ingress) -> None:
        client = ingress.http2(greet=False)
        assert client.read_frame() == fr.SETTINGS

    def test_bytes_are_counted_both_ways(self, ingress: Ingress) -> None:
        client = ingress.http2(greet=False)
        request = fr.PREFACE + fr.settings_frame(()) + fr.SETTINGS_ACK + a_get(1)
        client.send(request)
        assert ingress.listener.received.value == len(request)
        assert ingress.listener.sent.value == len(client.receive())


class TestClientsThatDoNotRead:
    def test_are_not_read_either(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.transport.stall(100_000)
        client.send(a_get(1))
        assert (client.transport.reading, ingress.service.targets) == (False, [])
        client.transport.flow()
        ingress.settle()
        assert (client.transport.reading, ingress.service.targets) == (True, ["/"])

    def test_have_their_streams_told_when_they_read_again(self, ingress: Ingress) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        client.send(a_get(1) + a_get(3))
        told = [Recorder(), Recorder()]
        for stream, recorder in zip(client.transport.protocol.h2.streams.values(), told, strict=True):
            stream.receiver = recorder
        client.transport.stall(100_000)
        assert [each.writable_calls for each in told] == [0, 0]
        client.transport.flow()
        assert [each.writable_calls for each in told] == [1, 1]
        ingress.service.release()

    def test_are_given_up_with_their_work(self, ingress: Ingress) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        client.send(rest_request(1))
        client.transport.stall(100_000)
        ingress.wait(STALL * 0.9)
        assert client.transport.open
        ingress.wait(STALL * 0.2)
        assert (client.transport.aborted, ingress.service.cancelled) == (True, 1)

    def test_are_kept_while_they_take_some(self, ingress: Ingress) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        client.send(a_get(1))
        client.transport.stall(100_000)
        for _ in range(4):
            client.transport.unsent -= STALL_BYTES
            ingress.wait(STALL)
            assert client.transport.open
        client.transport.flow()
        ingress.wait(STALL * 10)
        ingress.service.release()
        assert client.finish(1).status == 200


class TestClosedWindows:
    """A stream with something to send and no window for it has the `write_stall` deadline."""

    def stuck(self, ingress: Ingress, size: int = 100_000) -> Http2Client:
        ingress.service.answer = lambda request: Response(200, (bytes(size),))
        client = ingress.http2({fr.INITIAL_WINDOW_SIZE: 0})
        client.send(a_get(1))
        client.read()
        return client

    def test_end_their_streams_only(self, ingress: Ingress) -> None:
        client = self.stuck(ingress)
        ingress.wait(STALL * 0.9)
        client.read()
        assert client.outcome(1).reset is None
        ingress.wait(STALL * 0.2)
        assert client.finish(1).reset == ErrorCode.CANCEL
        ingress.service.answer = lambda request: Response(200)
        client.send(a_get(3))
        assert client.finish(3).status == 200

    def test_that_open_far_enough_keep_them(self, ingress: Ingress) -> None:
        client = self.stuck(ingress)
        for _ in range(3):
            ingress.wait(STALL * 0.5)
            client.send(fr.window_update(1, STALL_BYTES))
            ingress.wait(STALL * 0.4)
        client.read()
        assert (len(client.outcome(1).body), client.outcome(1).reset) == (3 * STALL_BYTES, None)
        client.send(fr.window_update(1, 100_000) + fr.window_update(0, 100_000))
        assert client.finish(1).ended

    def test_that_open_by_a_few_bytes_do_not(self, ingress: Ingress) -> None:
        client = self.stuck(ingress)
        for _ in range(4):
            ingress.wait(STALL * 0.3)
            client.send(fr.window_update(1, 100))
        assert client.finish(1).reset == ErrorCode.CANCEL

    def test_of_the_connection_are_no_different(self, ingress: Ingress) -> None:
        ingress.service.answer = lambda request: Response(200, (bytes(50_000),))
        client = ingress.http2({fr.INITIAL_WINDOW_SIZE: LARGE_WINDOW})
        client.send(a_get(1) + a_get(3))
        ingress.wait(STALL)
        ingress.wait(STALL)
        assert client.finish(1).ended
        assert client.finish(3).reset == ErrorCode.CANCEL


class TestDeadlines:
    def test_settings_must_be_acknowledged(self, ingress: Ingress) -> None:
        client = ingress.http2(greet=False)
        client.send(fr.PREFACE + fr.settings_frame(()) + a_get(1))
        assert client.finish(1).status == 200
        ingress.wait(HEADER)
        client.read()
        assert client.goaway == (ErrorCode.SETTINGS_TIMEOUT, 1)
        assert isinstance(client.transport.protocol, Linger)

    def test_so_must_the_preface_come(self, ingress: Ingress) -> None:
        client = ingress.http2(greet=False)
        client.send(fr.PREFACE[:10])
        ingress.wait(HEADER)
        assert isinstance(client.transport.protocol, Linger)

    @pytest.mark.parametrize(
        "part",
        [b"\0", a_get(1)[:9], a_get(1)[:-1], fr.frame(fr.HEADERS, 0, 1, b"\x82"), fr.ping_frame(b"12345678")[:-1]],
        ids=["half a frame head", "a frame head", "half a frame", "half a block", "half a PING"],
    )
    def test_a_frame_must_be_complete_in_time(self, ingress: Ingress, part: bytes) -> None:
        client = ingress.http2()
        ingress.wait(HEADER * 0.5)
        client.send(part)
        ingress.wait(HEADER * 0.9)
        assert isinstance(client.transport.protocol, Http2)
        ingress.wait(HEADER * 0.2)
        client.read()
        assert client.goaway == (CALM, 0)

    def test_each_frame_has_its_own_time(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, request_headers()))
        piece = data(1, bytes(100))
        client.send(piece[:20])
        for _ in range(3):
            ingress.wait(HEADER * 0.9)
            client.send(piece[20:] + piece[:20])
        client.send(piece[20:])
        client.read()
        assert client.goaway is None

    def test_a_block_in_many_pieces_has_the_time_of_one(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(fr.frame(fr.HEADERS, 0, 1, b"\x82"))
        for _ in range(3):
            ingress.wait(HEADER * 0.4)
            client.send(fr.frame(fr.CONTINUATION, 0, 1, b""))
        client.read()
        assert client.goaway == (CALM, 0)

    def test_the_first_of_several_counts(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, request_headers()))
        ingress.wait(BODY_SECONDS * 0.5)
        client.send(headers(3, request_headers()))
        ingress.wait(BODY_SECONDS * 0.5)
        client.read()
        assert (client.outcome(1).status, client.outcome(3).headers) == (408, [])
        ingress.wait(BODY_SECONDS * 0.5)
        assert client.finish(3).status == 408

    def test_an_idle_connection_is_announced_to_end(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(a_get(1))
        assert client.finish(1).status == 200
        ingress.wait(IDLE * 0.9)
        client.send(fr.ping_frame(b"12345678"))  # keeps nothing open
        ingress.wait(IDLE * 0.2)
        client.read()
        assert client.goaways == [(0, LAST), (0, 1)]
        assert isinstance(client.transport.protocol, Linger)

    def test_one_with_a_request_is_not_idle(self, ingress: Ingress) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        client.send(a_get(1))
        ingress.wait(IDLE * 10)
        ingress.service.release()
        assert client.finish(1).status == 200
        ingress.wait(IDLE * 0.9)
        client.read()
        assert client.goaway is None


class TestDraining:
    def test_streams_that_were_on_their_way_are_answered(self, ingress: Ingress) -> None:
        client = ingress.http2(answer_pings=False)
        ingress.service.holding = True
        client.send(a_get(1))
        ingress.listener.start_draining()
        ingress.settle()
        client.read()
        assert client.goaways == [(0, LAST)]
        client.send(a_get(3))  # sent before the client saw it
        client.send(fr.ping_frame(b"goodbye!", ack=True))
        client.read()
        assert client.goaways == [(0, LAST), (0, 3)]
        client.send(a_get(5))
        assert client.finish(5).reset == ErrorCode.REFUSED_STREAM
        ingress.service.release()
        assert [client.finish(stream).status for stream in (1, 3)] == [200, 200]
        assert (client.transport.ended, len(ingress.service.requests)) == (True, 2)

    def test_a_client_that_does_not_answer_is_waited_for_a_while(self, ingress: Ingress) -> None:
        client = ingress.http2(answer_pings=False)
        ingress.service.holding = True
        client.send(a_get(1))
        ingress.listener.start_draining()
        ingress.wait(LAST_PING_SECONDS * 0.9)
        client.send(fr.ping_frame(b"another!", ack=True))
        client.read()
        assert client.goaways == [(0, LAST)]
        ingress.wait(LAST_PING_SECONDS * 0.2)
        client.read()
        assert client.goaways == [(0, LAST), (0, 1)]
        ingress.service.release()
        assert client.finish(1).status == 200
        assert client.transport.ended

    def test_is_announced_once(self, ingress: Ingress) -> None:
        client = ingress.http2(answer_pings=False)
        ingress.listener.start_draining()
        ingress.listener.start_draining()
        ingress.settle()
        client.read()
        assert client.goaways == [(0, LAST)]

    def test_a_connection_that_comes_meanwhile_has_one_request(self, ingress: Ingress) -> None:
        ingress.listener.start_draining()
        client, silent = ingress.http2(), ingress.http2()
        client.send(a_get(1))
        assert client.finish(1).status == 200
        client.read()
        assert client.goaways == [(0, LAST), (0, 1)]
        ingress.wait(DRAIN_IDLE)
        silent.read()
        assert silent.goaways == [(0, LAST), (0, 0)]

    def test_a_connection_has_only_so_many_requests(self) -> None:
        with an_ingress(Limits(requests_per_connection=2)) as ingress:
            client = ingress.http2()
            client.send(a_get(1))
            client.read()
            assert client.goaways == []
            client.send(a_get(3) + a_get(5))
            assert [client.finish(stream).status for stream in (1, 3, 5)] == [200] * 3  # 5 was on its way
            client.read()
            assert client.goaways == [(0, LAST), (0, 5)]
            assert client.transport.ended


class TestTheEnd:
    def test_a_mistake_is_named_and_what_follows_dropped(self, ingress: Ingress) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        client.send(rest_request(1))
        client.send(fr.frame(fr.DATA, 0, 0, b"on no stream") + a_get(3))
        client.read()
        assert client.goaway == (ErrorCode.PROTOCOL_ERROR, 1)
        assert (client.transport.ended, ingress.service.cancelled) == (True, 1)
        client.send(a_get(5) * 10)
        assert (client.receive(), len(ingress.service.requests)) == (b"", 1)
        assert (ingress.listener.buffered, ingress.listener.requests_in_flight) == (0, 0)

    @pytest.mark.parametrize("how", ["end", "lose"])
    def test_a_client_that_goes_cancels_all(self, ingress: Ingress, how: str) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        client.send(b"".join(rest_request(stream) for stream in (1, 3, 5)))
        client.send(headers(7, request_headers()) + data(7, bytes(1000)))
        assert ingress.listener.buffered > 1000
        getattr(client.transport, how)()
        ingress.settle()
        assert ingress.service.cancelled == 3
        assert (ingress.listener.buffered, ingress.listener.requests_in_flight) == (0, 0)
        assert ingress.listener.connections == set()

    def test_of_a_stream_gives_its_bytes_back_to_the_connection(self) -> None:
        """One stream after the other may have the share of the connection."""
        with an_ingress(Limits(buffered_bytes=4000)) as ingress:
            client = ingress.http2()
            for stream in range(1, 41, 4):
                client.send(headers(stream, request_headers()) + data(stream, bytes(2000)))
                client.send(fr.rst_stream(stream, ErrorCode.CANCEL))
                client.send(headers(stream + 2, request_headers()) + data(stream + 2, bytes(2000), True))
                assert client.finish(stream + 2).status == 200
                assert ingress.listener.buffered == 0
