"""HTTP/1.1 answers: in order, whole or in pieces, to clients that read and to those that do not, until the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.schema import Deadlines
from gateway.ingress.exchange import Request, Response
from gateway.ingress.http1 import JOIN_BYTES
from gateway.ingress.linger import STALL_BYTES, Linger
from gateway.ingress.listener import DRAIN_IDLE
from tests.support.ingress import Ingress, Source, an_ingress
from tests.support.raw_client import get, post
from transcoding.status import Code, GatewayError

STALL, IDLE = 3.0, 5.0


@pytest.fixture
def ingress() -> Iterator[Ingress]:
    with an_ingress(deadlines=Deadlines(write_stall=STALL, idle=IDLE)) as made:
        yield made


class TestAnswers:
    def test_come_in_order_with_what_the_service_says(self, ingress: Ingress) -> None:
        ingress.service.answer = lambda request: Response(
            404, (b'{"at":"', request.target, b'"}'), fields=[(b"X-Field", b"value")]
        )
        client = ingress.http1()
        client.send(get("/1") + get("/2"))
        for target in ("/1", "/2"):
            answer = client.answer()
            assert (answer.status, answer.body) == (404, f'{{"at":"{target}"}}'.encode())
            assert answer.headers["x-field"] == "value"
            assert "connection" not in answer.headers

    def test_to_head_have_a_length_and_no_body(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.send(get(method="HEAD") + get("/next"))
        assert client.answer(head=True).headers["content-length"] == "2"
        assert client.answer().body == b"{}"

    @pytest.mark.parametrize("sizes", [[], [0], [10, 20], [JOIN_BYTES], [JOIN_BYTES + 1], [5, JOIN_BYTES, 100_000]])
    def test_of_any_size_leave_in_one_write(self, ingress: Ingress, sizes: list[int]) -> None:
        parts = [bytes((number,)) * size for number, size in enumerate(sizes)]
        ingress.service.answer = lambda request: Response(200, parts)
        client = ingress.http1()
        answer = client.ask(get())
        assert (answer.body, client.transport.writes) == (b"".join(parts), 1)

    def test_are_counted(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.send(get() + post(b"abc"))
        assert ingress.listener.sent.value == len(client.receive())

    def test_tell_http_1_0_whether_the_connection_stays(self, ingress: Ingress) -> None:
        client = ingress.http1()
        answer = client.ask(get("/", "Connection: keep-alive", version="1.0"))
        assert (answer.headers["connection"], client.transport.open) == ("keep-alive", True)
        assert client.ask(get(version="1.0")).headers["connection"] == "close"
        assert not client.transport.open

    def test_a_bug_ends_the_connection_and_is_logged(self, ingress: Ingress, caplog: pytest.LogCaptureFixture) -> None:
        def broken(request: Request) -> Response:
            raise KeyError("a bug")

        ingress.service.answer = broken
        client = ingress.http1()
        client.send(post(b"abc") + get())
        assert (client.receive(), client.transport.aborted) == (b"", True)
        assert "a bug" in caplog.text
        assert (ingress.listener.requests_in_flight, ingress.listener.buffered) == (0, 0)


class TestStreams:
    def test_pieces_leave_as_they_come(self, ingress: Ingress) -> None:
        source, client = Source(ingress), ingress.http1()
        client.send(get() + get("/next"))
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
        for piece, written in ((b"one", b"3\r\none\r\n"), (b"", b""), (bytes(20), b"14\r\n" + bytes(20) + b"\r\n")):
            source.give(piece)
            assert client.receive() == written
        ingress.service.answer = lambda request: Response(200)
        source.give(None)
        assert client.until(b"\r\n\r\n") == b"0\r\n\r\n"
        assert client.answer().status == 200
        assert source.closed

    def test_http_1_0_gets_them_bare_and_then_the_end(self, ingress: Ingress) -> None:
        source, client = Source(ingress), ingress.http1()
        client.send(get("/", "Connection: keep-alive", version="1.0"))
        head = client.until(b"\r\n\r\n")
        assert b"Transfer-Encoding" not in head
        assert b"Connection: close" in head
        source.give(b"one", b"two", None)
        assert (client.receive(), client.transport.open) == (b"onetwo", False)

    def test_one_that_breaks_off_ends_the_connection_without_an_end(self, ingress: Ingress) -> None:
        source, client = Source(ingress), ingress.http1()
        client.send(get())
        source.give(b"one", GatewayError(Code.UNAVAILABLE, "gone"))
        assert client.receive().endswith(b"3\r\none\r\n")
        assert (client.transport.aborted, source.closed) == (True, True)

    def test_waits_while_the_client_does_not_read(self, ingress: Ingress) -> None:
        source, client = Source(ingress), ingress.http1()
        client.send(get())
        client.transport.stall(100_000)
        source.give(b"one", b"two", b"three")
        assert source.taken == 1
        client.transport.flow()
        ingress.settle()
        assert source.taken == 3

    @pytest.mark.parametrize("stalled", [False, True])
    def test_ends_when_the_client_goes(self, ingress: Ingress, stalled: bool) -> None:
        source, client = Source(ingress), ingress.http1()
        client.send(get())
        if stalled:
            client.transport.stall(100_000)
            source.give(b"one")
        client.close()
        assert (source.closed, ingress.listener.requests_in_flight) == (True, 0)


class TestClientsThatDoNotRead:
    def test_are_given_up_and_their_work_with_them(self, ingress: Ingress) -> None:
        source, client = Source(ingress), ingress.http1()
        client.send(get())
        client.transport.stall(100_000)
        source.give(b"one")
        ingress.wait(STALL * 0.9)
        assert client.transport.open
        ingress.wait(STALL * 0.2)
        assert (client.transport.aborted, source.closed) == (True, True)

    def test_are_kept_while_they_take_some(self, ingress: Ingress) -> None:
        source, client = Source(ingress), ingress.http1()
        client.send(get())
        client.transport.stall(100_000)
        source.give(b"one")
        for _ in range(4):
            client.transport.unsent -= STALL_BYTES
            ingress.wait(STALL)
            assert client.transport.open
        client.transport.flow()
        ingress.wait(100.0)  # nothing is late while the answer goes on
        source.give(b"two", None)
        assert client.receive().endswith(b"two\r\n0\r\n\r\n")

    def test_have_no_further_requests_answered(self, ingress: Ingress) -> None:
        client = ingress.http1()
        ingress.service.holding = True
        client.send(get("/1") + get("/2") + get("/3"))
        client.transport.stall(100_000)
        ingress.service.release()
        ingress.settle()
        assert ingress.service.targets == ["/1"]
        client.transport.flow()
        ingress.settle()
        assert ingress.service.targets == ["/1", "/2", "/3"]

    def test_have_their_last_answer_for_as_long(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.transport.unsent = 50_000
        client.send(get("/", "Connection: close"))
        assert not client.transport.open
        client.transport.unsent = 30_000
        ingress.wait(STALL)
        assert not client.transport.aborted
        ingress.wait(STALL)
        assert client.transport.aborted


class TestTheEnd:
    def test_a_refusal_leaves_a_connection_that_only_reads(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.send(post(b"", length=10**12))
        assert client.answer().status == 413
        assert (client.transport.ended, client.transport.open) == (True, True)
        assert isinstance(client.transport.protocol, Linger)
        client.send(get("/smuggled") * 10)
        assert (ingress.service.targets, client.receive()) == ([], b"")
        ingress.wait(1.0)
        assert client.transport.lost

    def test_a_refused_head_has_no_body(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.send(get("/", "Expect: tea", method="HEAD"))
        assert client.answer(head=True).status == 417
        assert client.receive() == b""

    @pytest.mark.parametrize("begun", [b"", b"POST", post(b"abc", length=9)], ids=["nothing", "head", "body"])
    def test_a_client_that_goes_cancels_what_it_asked_for(self, ingress: Ingress, begun: bytes) -> None:
        client = ingress.http1()
        ingress.service.holding = True
        client.send(post(b"abc") + post(b"def") + begun)
        client.transport.end()
        ingress.settle()
        assert (client.transport.lost, ingress.service.cancelled, client.receive()) == (True, 1, b"")
        assert (ingress.listener.requests_in_flight, ingress.listener.buffered) == (0, 0)
        assert ingress.service.bodies == [b"abc"]

    def test_one_that_goes_when_all_is_answered(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.ask(get())
        client.transport.end()
        ingress.settle()
        assert ingress.listener.connections == set()


class TestDraining:
    def test_an_idle_connection_is_closed_a_little_later(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.ask(get())
        ingress.listener.start_draining()
        ingress.wait(DRAIN_IDLE * 0.9)
        assert client.transport.open
        ingress.wait(DRAIN_IDLE * 0.2)
        assert (client.transport.lost, client.transport.aborted) == (True, False)

    def test_one_that_was_idle_before_is_closed_at_once(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.ask(get())
        ingress.wait(DRAIN_IDLE * 2)
        ingress.listener.start_draining()
        ingress.wait(0.0)
        assert client.transport.lost

    def test_a_request_meanwhile_is_the_last_and_told_so(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.ask(get())
        ingress.listener.start_draining()
        assert client.ask(get()).headers["connection"] == "close"
        assert not client.transport.open

    def test_what_is_in_flight_is_answered(self, ingress: Ingress) -> None:
        client = ingress.http1()
        ingress.service.holding = True
        client.send(get("/1") + get("/2"))
        ingress.listener.start_draining()
        ingress.wait(100.0)
        ingress.service.release()
        ingress.settle()
        answers = [client.answer(), client.answer()]
        assert [answer.headers.get("connection") for answer in answers] == [None, "close"]
        assert not client.transport.open

    def test_what_has_begun_to_come_may_come(self, ingress: Ingress) -> None:
        client = ingress.http1()
        client.send(post(b"abc")[:-1])
        ingress.listener.start_draining()
        ingress.wait(DRAIN_IDLE * 2)
        answer = client.ask(b"c")
        assert (answer.status, answer.headers["connection"]) == (200, "close")

    def test_a_request_that_began_behind_one_in_flight_may_come(self, ingress: Ingress) -> None:
        client = ingress.http1()
        ingress.service.holding = True
        client.send(get("/1") + get("/2")[:10])
        ingress.listener.start_draining()
        ingress.service.release()
        assert "connection" not in client.answer().headers
        answer = client.ask(get("/2")[10:])
        assert (answer.status, answer.headers["connection"]) == (200, "close")
