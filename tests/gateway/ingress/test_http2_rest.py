"""REST on HTTP/2 streams: requests as they were sent, answers under flow control, and streams that end early."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.schema import Deadlines, Limits
from gateway.ingress.exchange import BODY_BYTES_PER_SECOND, EVENTS, Request, Response
from gateway.ingress.http2_rest import request_of, response_head
from tests.support.ingress import Http2Client, Ingress, Source, an_ingress
from tests.support.rude_http2 import LARGE_WINDOW, data, headers, request_headers, rest_request
from transcoding.http2 import frames as fr
from transcoding.http2 import hpack
from transcoding.http2.errors import ErrorCode
from transcoding.http2.flow import HIGH_WATER
from transcoding.http2.headers import HeaderBlock, Pair, request_block
from transcoding.status import Code, GatewayError

BODY_SECONDS = 4.0
QUANTUM = int(BODY_BYTES_PER_SECOND * BODY_SECONDS)
BUSY = "too many request bytes are waiting in this worker"


@pytest.fixture
def ingress() -> Iterator[Ingress]:
    with an_ingress(Limits(body_bytes=10 * QUANTUM), Deadlines(body=BODY_SECONDS)) as made:
        yield made


def a_block(*more: Pair, method: str = "GET", path: str = "/v2") -> HeaderBlock:
    return request_block(tuple(request_headers(path, *more, method=method)), ())


def in_frames(stream: int, body: bytes, end: bool = True, size: int = 16_000) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(data(stream, piece, end and at == len(pieces) - 1) for at, piece in enumerate(pieces))


class TestHeads:
    def test_are_mapped(self) -> None:
        request = request_of(a_block((b"x-a", b"1"), (b"x-b", b""), method="POST", path="/v2/x?y=z"))
        assert (request.method, request.target, request.body) == (b"POST", b"/v2/x?y=z", b"")
        assert request.headers == {b"x-a": b"1", b"x-b": b"", b"host": b"gateway"}

    def test_repeated_fields_are_joined(self) -> None:
        request = request_of(a_block((b"accept", b"a"), (b"x", b"1"), (b"accept", b"b"), (b"accept", b"")))
        assert (request.headers[b"accept"], request.headers[b"x"]) == (b"a, b, ", b"1")
        assert request.repeated == (b"accept", b"accept")

    def test_underscores(self) -> None:
        block = (b"x_a", b"1"), (b"x-a", b"2")
        dropped, allowed = (request_of(a_block(*block), each) for each in ("drop", "allow"))
        assert (dropped.headers.get(b"x_a"), allowed.headers[b"x_a"]) == (None, b"1")
        with pytest.raises(GatewayError, match="underscore"):
            request_of(a_block(*block), "reject")

    @pytest.mark.parametrize("host", [b"gateway", b"GATEWAY"])
    def test_a_host_that_agrees(self, host: bytes) -> None:
        assert request_of(a_block((b"host", host))).headers[b"host"] == host

    @pytest.mark.parametrize(
        ("block", "status", "message"),
        [
            (a_block((b"host", b"other")), 400, "host: expected the same as :authority"),
            (a_block((b"host", b"gateway"), (b"host", b"gateway")), 400, "host: expected at most one"),
            (a_block((b"authorization", b"a"), (b"authorization", b"a")), 400, "authorization: expected at most one"),
            (a_block(method="TRACE"), 405, "Method Not Allowed"),
            (a_block(path="/" + "a" * 8192), 414, "request target longer than 8192 bytes"),
            (a_block((b"expect", b"tea")), 417, "expect: only 100-continue is understood"),
            (request_block(a_block().fields, (), True), 431, "request head too large"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_refused(self, block: HeaderBlock, status: int, message: str) -> None:
        for _ in range(2):  # a verdict is not remembered as a request
            with pytest.raises(GatewayError) as caught:
                request_of(block)
            assert (caught.value.http_status, caught.value.message) == (status, message)

    def test_requests_of_a_block_that_repeats_share_no_body(self) -> None:
        block = a_block()
        first, second = request_of(block), request_of(block)
        first.body = b"of the first"
        assert (second.body, request_of(block).body) == (b"", b"")
        assert second.headers is first.headers

    def test_of_answers_have_lower_case_names(self) -> None:
        response = Response(404, fields=[(b"Retry-After", b"1")])
        assert response_head(response, 7) == hpack.encode(
            [
                (b":status", b"404"),
                (b"content-type", b"application/json"),
                (b"content-length", b"7"),
                (b"retry-after", b"1"),
            ]
        )
        assert response_head(Response(200, content_type=b""), None) == hpack.encode([(b":status", b"200")])


class TestBodies:
    @pytest.mark.parametrize("size", [1, 1000, 16_000])
    def test_in_frames_of_any_size(self, ingress: Ingress, size: int) -> None:
        body = bytes(range(256)) * 20
        client = ingress.http2()
        client.send(headers(1, request_headers()) + in_frames(1, body, size=size))
        assert client.finish(1).status == 200
        assert ingress.service.bodies == [body]

    @pytest.mark.parametrize(
        "end", [data(1, b"", True), headers(1, [(b"x-checksum", b"1")], True)], ids=["empty DATA", "trailers"]
    )
    def test_may_end_without_a_byte(self, ingress: Ingress, end: bytes) -> None:
        client = ingress.http2()
        client.send(headers(1, request_headers()) + data(1, b"abc"))
        assert ingress.service.requests == []
        client.send(end)
        assert client.finish(1).status == 200
        assert ingress.service.bodies == [b"abc"]
        assert b"x-checksum" not in ingress.service.requests[0].headers

    def test_more_than_the_windows_hold(self, ingress: Ingress) -> None:
        body = bytes(8 * QUANTUM)
        client = ingress.http2()
        client.send(headers(1, request_headers()))
        for at in range(0, len(body), 16_000):
            client.send(data(1, body[at : at + 16_000], at + 16_000 >= len(body)))
        assert client.finish(1).status == 200
        assert ingress.service.bodies == [body]

    def test_count_until_they_are_answered(self, ingress: Ingress) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        client.send(headers(1, request_headers()) + data(1, bytes(1000)))
        assert ingress.listener.buffered == 1000
        client.send(data(1, bytes(500), True))
        assert (ingress.listener.buffered, ingress.listener.requests_in_flight) == (1500, 1)
        ingress.service.release()
        assert client.finish(1).status == 200
        assert (ingress.listener.buffered, ingress.listener.requests_in_flight) == (0, 0)

    @pytest.mark.parametrize(
        ("length", "frames"),
        [
            (b"5", data(1, b"abc", True)),
            (b"2", data(1, b"abc", True)),
            (b"2", data(1, b"abc")),
            (b"3", data(1, b"", True)),
        ],
    )
    def test_of_another_length_than_announced_are_no_requests(
        self, ingress: Ingress, length: bytes, frames: bytes
    ) -> None:
        client = ingress.http2()
        client.send(headers(1, request_headers("/", (b"content-length", length))) + frames)
        assert client.finish(1).reset == ErrorCode.PROTOCOL_ERROR
        client.send(rest_request(3))
        assert client.finish(3).status == 200
        assert (len(ingress.service.requests), ingress.listener.buffered) == (1, 0)

    @pytest.mark.parametrize("announced", [True, False])
    def test_above_the_limit_are_refused_as_early_as_possible(self, announced: bool) -> None:
        with an_ingress(Limits(body_bytes=1000)) as ingress:
            client = ingress.http2()
            more = [(b"content-length", b"1001")] if announced else []
            client.send(headers(1, request_headers("/", *more)))
            if not announced:
                client.send(data(1, bytes(1000)))
                assert client.outcome(1).headers == []
                client.send(data(1, b"x"))
            outcome = client.finish(1)
            assert (outcome.status, outcome.error) == (413, "request body larger than 1000 bytes")
            client.read()
            assert outcome.reset == ErrorCode.NO_ERROR  # the rest is not wanted
            client.send(data(1, bytes(100)))  # and harms nobody
            client.send(headers(3, request_headers()) + data(3, bytes(1000), True))
            assert client.finish(3).status == 200
            assert ingress.listener.buffered == 0

    def test_a_refused_head_is_answered_before_its_body(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, request_headers(method="TRACE")) + data(1, bytes(5000), True))
        outcome = client.finish(1)
        assert (outcome.status, outcome.error) == (405, "Method Not Allowed")
        assert (ingress.service.requests, ingress.listener.buffered) == ([], 0)

    def test_one_connection_may_hold_half_of_what_all_may(self) -> None:
        with an_ingress(Limits(buffered_bytes=20_000)) as ingress:
            greedy, modest = ingress.http2(), ingress.http2()
            greedy.send(headers(1, request_headers()) + data(1, bytes(10_000)))
            modest.send(headers(1, request_headers()) + data(1, bytes(9000)))
            greedy.send(headers(3, request_headers()) + data(3, b"x"))
            outcome = greedy.finish(3)
            assert (outcome.status, outcome.error) == (503, BUSY)
            assert ingress.listener.buffered == 19_000
            modest.send(data(1, bytes(1000)))
            third = ingress.http2()
            third.send(headers(1, request_headers()) + data(1, b"x"))
            assert third.finish(1).status == 503
            for client in (greedy, modest):
                client.send(data(1, b"", True))
                assert client.finish(1).status == 200
            assert ingress.listener.buffered == 0


class TestContinue:
    FIELDS = request_headers("/", (b"expect", b"100-continue"))

    def test_is_sent_to_who_waits_for_it(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, self.FIELDS))
        client.read()
        assert client.outcome(1).headers == [{":status": "100"}]
        client.send(data(1, b"abc", True))
        assert client.finish(1).status == 200

    def test_is_not_sent_when_all_is_here(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, self.FIELDS, True))
        assert [each[":status"] for each in client.finish(1).headers] == ["200"]

    def test_is_not_sent_for_what_is_refused(self) -> None:
        with an_ingress(Limits(body_bytes=10)) as ingress:
            client = ingress.http2()
            client.send(headers(1, [*self.FIELDS, (b"content-length", b"11")]))
            assert [each[":status"] for each in client.finish(1).headers] == ["413"]


class TestDeadlines:
    def test_a_body_that_does_not_come_ends_its_stream_only(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, request_headers()) + data(1, bytes(1000)))
        ingress.wait(BODY_SECONDS * 0.9)
        client.send(headers(3, request_headers()) + data(1, b"x"))
        ingress.wait(BODY_SECONDS * 0.2)
        outcome = client.finish(1)
        client.read()
        assert (outcome.status, outcome.error) == (408, "the request's body did not arrive in time")
        assert (outcome.reset, ingress.listener.buffered) == (ErrorCode.NO_ERROR, 0)
        client.send(data(3, b"abc", True))
        assert client.finish(3).status == 200

    def test_progress_buys_time(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, request_headers()))
        for _ in range(20):
            client.send(in_frames(1, bytes(QUANTUM // 4), end=False))
            ingress.wait(BODY_SECONDS * 0.24)
        client.read()
        assert client.outcome(1).headers == []
        ingress.wait(BODY_SECONDS)
        assert client.finish(1).status == 408

    def test_an_answer_may_take_longer(self, ingress: Ingress) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        client.send(rest_request(1))
        ingress.wait(BODY_SECONDS * 10)
        ingress.service.release()
        assert client.finish(1).status == 200


class TestAnswers:
    @pytest.mark.parametrize(
        "parts", [[b"whole"], [b"in ", b"three ", b"parts"], [bytes(30_000)], [b"a", bytes(60_000)]]
    )
    def test_whole(self, ingress: Ingress, parts: list[bytes]) -> None:
        ingress.service.answer = lambda request: Response(200, parts)
        client = ingress.http2()
        client.send(rest_request(1))
        outcome = client.finish(1)
        assert (outcome.body, outcome.ended) == (b"".join(parts), True)
        assert outcome.headers[0]["content-length"] == str(len(outcome.body))

    @pytest.mark.parametrize("parts", [[], [b""]])
    def test_without_a_body_end_with_their_head(self, ingress: Ingress, parts: list[bytes]) -> None:
        ingress.service.answer = lambda request: Response(200, parts, b"")
        client = ingress.http2()
        client.send(rest_request(1))
        assert client.finish(1).ended
        assert client.outcome(1).headers == [{":status": "200", "content-length": "0"}]

    def test_to_head_have_a_length_and_no_body(self, ingress: Ingress) -> None:
        client = ingress.http2()
        client.send(headers(1, request_headers(method="HEAD"), True))
        outcome = client.finish(1)
        assert (outcome.headers[0]["content-length"], outcome.body, outcome.ended) == ("2", b"", True)

    def test_larger_than_the_window_wait_for_it(self, ingress: Ingress) -> None:
        ingress.service.answer = lambda request: Response(200, (bytes(1000),))
        client = ingress.http2({fr.INITIAL_WINDOW_SIZE: 300})
        client.send(rest_request(1))
        outcome = client.finish(1)
        assert (len(outcome.body), outcome.ended) == (300, False)
        client.send(fr.window_update(1, 10_000))
        assert (len(client.finish(1).body), outcome.ended) == (1000, True)

    def test_a_bug_resets_the_stream_and_is_logged(self, ingress: Ingress, caplog: pytest.LogCaptureFixture) -> None:
        def broken(request: Request) -> Response:
            raise KeyError("a bug")

        ingress.service.answer = broken
        client = ingress.http2()
        client.send(rest_request(1))
        assert client.finish(1).reset == ErrorCode.INTERNAL_ERROR
        assert "a bug" in caplog.text
        ingress.service.answer = lambda request: Response(200)
        client.send(rest_request(3))
        assert client.finish(3).status == 200

    @pytest.mark.parametrize("moment", ["before it began", "while it waits"])
    def test_a_client_that_gives_up_cancels_the_work(self, ingress: Ingress, moment: str) -> None:
        client = ingress.http2()
        ingress.service.holding = True
        if moment == "before it began":
            client.send(rest_request(1) + fr.rst_stream(1, ErrorCode.CANCEL))
            assert ingress.service.requests == []
        else:
            client.send(rest_request(1))
            client.send(fr.rst_stream(1, ErrorCode.CANCEL))
            assert ingress.service.cancelled == 1
        assert (ingress.listener.buffered, ingress.listener.requests_in_flight) == (0, 0)


class TestStreams:
    def streaming(self, ingress: Ingress, window: int = LARGE_WINDOW) -> tuple[Http2Client, Source]:
        source, client = Source(ingress), ingress.http2({fr.INITIAL_WINDOW_SIZE: window})
        client.send(rest_request(1))
        client.read()
        return client, source

    def test_pieces_leave_as_they_come(self, ingress: Ingress) -> None:
        client, source = self.streaming(ingress)
        outcome = client.outcome(1)
        assert outcome.headers == [{":status": "200", "content-type": EVENTS.decode()}]
        for piece in (b"one", b"", b"two"):
            source.give(piece)
            client.read()
            assert outcome.body.endswith(piece)
            assert not outcome.ended
        source.give(None)
        assert client.finish(1).ended
        assert (outcome.body, source.closed) == (b"onetwo", True)

    def test_a_source_that_breaks_off_resets_the_stream(self, ingress: Ingress) -> None:
        client, source = self.streaming(ingress)
        source.give(b"one")
        source.give(GatewayError(Code.UNAVAILABLE, "gone"))
        assert client.finish(1).reset == ErrorCode.INTERNAL_ERROR
        assert source.closed

    def test_little_is_taken_from_the_source_while_the_window_is_closed(self, ingress: Ingress) -> None:
        client, source = self.streaming(ingress, window=1000)
        piece, count = bytes(HIGH_WATER // 4), 20
        for _ in range(count):
            source.give(piece)
        source.give(None)
        ingress.settle(100)
        assert 4 <= source.taken <= 6
        client.read()
        client.send(fr.window_update(1, len(piece) * count) + fr.window_update(0, len(piece) * count))
        ingress.settle(100)
        assert len(client.finish(1).body) == len(piece) * count

    def test_nothing_is_taken_while_the_client_does_not_read(self, ingress: Ingress) -> None:
        client, source = self.streaming(ingress)
        client.transport.stall(100_000)
        for _ in range(5):
            source.give(b"x")
        ingress.settle()
        assert source.taken == 1
        client.transport.flow()
        ingress.settle()
        assert source.taken == 5

    @pytest.mark.parametrize("how", ["reset", "gone", "full"])
    def test_a_client_that_leaves_closes_the_source(self, ingress: Ingress, how: str) -> None:
        client, source = self.streaming(ingress, window=0)
        source.give(bytes(HIGH_WATER * 2) if how == "full" else b"x")
        ingress.settle()
        if how == "gone":
            client.close()
        else:
            client.send(fr.rst_stream(1, ErrorCode.CANCEL))
        assert (source.closed, ingress.listener.requests_in_flight) == (True, 0)
