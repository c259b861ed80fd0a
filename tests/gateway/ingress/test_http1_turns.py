"""HTTP/1.1 requests that wait: for their turn, for `100 Continue`, and not longer than their deadlines."""

from __future__ import annotations

import pytest

from config.schema import Deadlines, Limits
from gateway.ingress.exchange import BODY_BYTES_PER_SECOND
from gateway.ingress.http1_large import LARGE
from tests.support.ingress import an_ingress
from tests.support.raw_client import get, post

PADDING = "X: " + "y" * 1000
"""In a read that is not small, requests are parsed one by one."""
CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")
UPGRADE = ("Connection: Upgrade", "Upgrade: h2c")
HEADER, BODY_SECONDS, IDLE = 2.0, 4.0, 6.0
DEADLINES = Deadlines(header=HEADER, body=BODY_SECONDS, idle=IDLE)
QUANTUM = int(BODY_BYTES_PER_SECOND * BODY_SECONDS)


class TestPipelining:
    def test_some_wait_and_the_rest_is_not_read(self) -> None:
        size = len(get("/0", PADDING))
        with an_ingress(Limits(pipelined=3)) as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(get("/held"))
            client.send(b"".join(get(f"/{number}", PADDING) for number in range(10)))
            assert ingress.service.targets == ["/held"]
            assert not client.transport.reading
            assert ingress.listener.buffered == size * 7
            client.send(get("/later"))  # stays in the socket
            assert ingress.listener.buffered == size * 7
            ingress.service.release()
            ingress.settle(100)
            assert ingress.service.targets == ["/held", *(f"/{number}" for number in range(10)), "/later"]
            assert client.statuses() == [200] * 12
            assert (client.transport.reading, ingress.listener.buffered) == (True, 0)

    def test_small_reads_bring_no_more_than_large_ones(self) -> None:
        with an_ingress(Limits(pipelined=3)) as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            for number in range(20):
                client.send(get(f"/{number}"))
            assert not client.transport.reading
            assert len(client.transport.protocol._queue) == 3
            ingress.service.release()
            ingress.settle(100)
            assert ingress.service.targets == [f"/{number}" for number in range(20)]
            assert client.statuses() == [200] * 20

    def test_what_comes_although_nobody_reads_keeps_its_order(self) -> None:
        """As a transport may do that has read it already."""
        with an_ingress(Limits(pipelined=1)) as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            data = b"".join(get(f"/{number}") for number in range(6))
            for at in range(0, len(data), 10):
                client.transport.protocol.data_received(data[at : at + 10])
            ingress.settle()
            ingress.service.release()
            ingress.settle(100)
            assert ingress.service.targets == [f"/{number}" for number in range(6)]

    def test_others_have_their_turn_between_the_requests_of_one(self) -> None:
        with an_ingress(Limits(pipelined=1)) as ingress:
            greedy, other = ingress.http1(), ingress.http1()
            greedy.transport.send(get("/greedy", PADDING) * 50)
            other.transport.send(get("/other"))
            ingress.settle(10)
            assert ingress.service.targets.index("/other") <= 2
            ingress.settle(200)

    def test_what_waits_has_a_limit_too(self) -> None:
        with an_ingress(Limits(pipelined=1, buffered_bytes=1000)) as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(get("/held"))
            client.send(get("/next", PADDING) * 5)
            assert ingress.listener.buffered == 0  # what was held is dropped at once
            ingress.service.release()
            ingress.settle()
            assert client.answer().status == 200
            assert client.answer().status == 200
            client.assert_refused(503, "too many request bytes")

    def test_a_refusal_waits_for_its_turn(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(get("/held") + b"no HTTP\r\n\r\n")
            assert client.receive() == b""
            ingress.service.release()
            ingress.settle()
            assert client.answer().status == 200
            client.assert_refused(400, "malformed HTTP request")

    def test_nothing_is_parsed_after_the_last_request(self) -> None:
        for last in (get("/last", "Connection: close"), get("/last", version="1.0")):
            with an_ingress() as ingress:
                client = ingress.http1()
                client.send(last + get("/next"))
                client.send(b"no HTTP\r\n\r\n")
                assert ingress.service.targets == ["/last"]
                assert client.answer().headers["connection"] == "close"
                assert client.receive() == b""
                assert not client.transport.open

    def test_requests_of_a_connection_are_counted(self) -> None:
        with an_ingress(Limits(requests_per_connection=2)) as ingress:
            client = ingress.http1()
            client.send(get() + post() + get())
            answers = [client.answer(), client.answer()]
            assert [each.headers.get("connection") for each in answers] == [None, "close"]
            assert (client.receive(), client.transport.open) == (b"", False)


class TestContinue:
    HEAD = post(b"", "/", "Expect: 100-continue", length=3)

    def test_is_sent_before_the_body(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            assert client.ask(self.HEAD).status == 100
            assert client.receive() == b""
            assert client.ask(b"abc").status == 200
            assert ingress.service.bodies == [b"abc"]

    def test_is_sent_each_time(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            for _ in range(3):
                assert client.ask(self.HEAD).status == 100
                assert client.ask(b"abc").status == 200

    def test_comes_after_the_answers_that_are_due(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(get() + self.HEAD)
            assert client.receive() == b""
            ingress.service.release()
            assert client.statuses() == [200, 100]

    def test_is_not_sent_to_those_who_did_not_wait(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(get() + self.HEAD + b"a")
            ingress.service.release()
            assert client.statuses() == [200]
            client.send(b"bc")
            assert client.statuses() == [200]

    @pytest.mark.parametrize(
        "head",
        [
            post(b"", "/", "Expect: 100-continue"),
            get("/", "Expect: 100-continue"),
            post(b"", "/", length=3),
            get("/", "Expect: 100-continue", "Content-Length: 3", version="1.0"),
        ],
        ids=["no bytes", "no body", "not asked for", "HTTP/1.0"],
    )
    def test_is_sent_to_nobody_else(self, head: bytes) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            client.send(head)
            assert 100 not in client.statuses()

    def test_a_body_too_large_is_refused_instead(self) -> None:
        with an_ingress(Limits(body_bytes=2)) as ingress:
            client = ingress.http1()
            client.send(self.HEAD)
            client.assert_refused(413, "larger than 2 bytes")


class TestUpgrade:
    def test_is_ignored_with_large_bodies_too(self) -> None:
        body = bytes(LARGE + 100)
        with an_ingress() as ingress:
            client = ingress.http1()
            client.send_in_pieces(post(body, "/", *UPGRADE) + get("/next"), [200, 10_000])
            assert client.statuses() == [200, 200]
            assert ingress.service.bodies == [body, b""]

    def test_the_field_does_not_reach_the_service(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            client.ask(get("/", *UPGRADE, "X: y"))
            assert b"upgrade" not in ingress.service.requests[0].headers
            assert ingress.service.requests[0].headers[b"x"] == b"y"

    def test_connect_is_no_method_here(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            client.send(get("a:80", method="CONNECT") + get("/tunnelled"))
            client.assert_refused(405, "Method Not Allowed")
            assert ingress.service.targets == []


class TestDeadlines:
    def test_a_head_has_its_time_from_its_first_byte_and_no_more(self) -> None:
        with an_ingress(deadlines=DEADLINES) as ingress:
            client = ingress.http1()
            assert client.ask(get()).status == 200
            ingress.wait(IDLE * 0.9)
            for byte in b"GET":
                client.send(bytes((byte,)))
                ingress.wait(HEADER * 0.3)
            assert client.receive() == b""
            ingress.wait(HEADER * 0.2)
            client.assert_refused(408, "the request's head did not arrive in time")

    def test_a_body_has_its_time_from_the_end_of_its_head(self) -> None:
        with an_ingress(deadlines=DEADLINES) as ingress:
            client = ingress.http1()
            client.send(post(b"", length=100)[:-1])
            ingress.wait(HEADER * 0.9)
            client.send(b"\n")
            ingress.wait(BODY_SECONDS * 0.9)
            client.send(bytes(99))  # too little to count
            assert client.receive() == b""
            ingress.wait(BODY_SECONDS * 0.2)
            client.assert_refused(408, "the request's body did not arrive in time")
            assert ingress.listener.buffered == 0

    @pytest.mark.parametrize("how", ["length", "chunks", "large"])
    def test_progress_buys_time(self, how: str) -> None:
        piece, count = bytes(QUANTUM // 4), 20
        size = len(piece) * count
        with an_ingress(deadlines=DEADLINES) as ingress:
            client = ingress.http1()
            if how == "large":
                client.send(post(b"", length=size) + bytes(10_000 - len(post(b"", length=size))))
                size -= 10_000 - len(post(b"", length=size))
            else:
                client.send(CHUNKED if how == "chunks" else post(b"", length=size))
            for _ in range(count - 1):
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece) if how == "chunks" else piece)
                ingress.wait(BODY_SECONDS * 0.24)
                assert client.receive() == b""
            ingress.wait(BODY_SECONDS)
            client.assert_refused(408, "body")

    def test_progress_buys_no_more_than_one_period(self) -> None:
        with an_ingress(deadlines=DEADLINES) as ingress:
            client = ingress.http1()
            client.send(post(b"", length=100 * QUANTUM) + bytes(50 * QUANTUM))
            ingress.wait(BODY_SECONDS * 1.01)
            client.assert_refused(408, "body")

    def test_an_idle_connection_is_closed_without_a_word(self) -> None:
        with an_ingress(deadlines=DEADLINES) as ingress:
            client = ingress.http1()
            assert client.ask(get()).status == 200
            for _ in range(3):
                ingress.wait(IDLE * 0.3)
                client.send(b"\r\n")  # is nothing
                assert client.transport.open
            ingress.wait(IDLE * 0.2)
            assert (client.receive(), client.transport.open) == (b"", False)

    def test_a_connection_that_never_says_anything_has_the_time_of_a_head(self) -> None:
        with an_ingress(deadlines=DEADLINES) as ingress:
            client = ingress.http1()
            ingress.wait(HEADER)
            assert not client.transport.open

    @pytest.mark.parametrize("begun", [b"", b"GET / HT", post(b"a", length=2)], ids=["nothing", "head", "body"])
    def test_while_an_answer_is_due_nothing_is_late(self, begun: bytes) -> None:
        with an_ingress(deadlines=DEADLINES) as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(get() + begun)
            ingress.wait(100.0)
            assert client.transport.open
            ingress.service.release()
            assert client.answer().status == 200
            ingress.wait(IDLE if not begun else BODY_SECONDS if begun.startswith(b"POST") else HEADER)
            assert client.statuses() == ([408] if begun else [])
