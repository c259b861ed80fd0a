"""HTTP/1.1 as it arrives: the same requests whatever the cuts, no more of them than may wait, and all of it counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.schema import Deadlines, Limits
from gateway.ingress.exchange import BODY_BYTES_PER_SECOND
from gateway.ingress.http1_large import LARGE
from gateway.ingress.http1_reader import PIECE_BYTES
from gateway.ingress.linger import Linger
from tests.support.ingress import Http1Client, Ingress, an_ingress
from tests.support.raw_client import chunked, get, post

CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")
PADDING = "X: " + "y" * 1000
"""In a read that is not small, requests are parsed one by one."""
UPGRADE = ("Connection: Upgrade", "Upgrade: h2c")


def refused(client: Http1Client, status: int, words: str) -> None:
    """The last answer is this one, and nothing more is read."""
    answer = client.answer()
    assert (answer.status, words in answer.error) == (status, True), answer
    assert answer.headers["connection"] == "close"
    assert client.receive() == b""
    assert isinstance(client.transport.protocol, Linger)


def send_in_pieces(client: Http1Client, data: bytes, cuts: Sequence[int]) -> None:
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        client.send(data[at:cut])
        at = cut


# Any cuts -------------------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """A request as bytes, and as the service should see it."""

    data: bytes
    target: str
    body: bytes

    def __repr__(self) -> str:
        return f"Sent({self.data[:300]!r} …, {len(self.body)} bytes of body)"


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """A request of any kind that is served."""
    size = draw(st.sampled_from([0, 1, 3, 100, PIECE_BYTES, 20_000, LARGE + 5_000]))
    body = draw(st.binary(min_size=3, max_size=3)).ljust(size, b"0")[:size]
    target = draw(st.sampled_from(["/a", "/b", "/" + "c" * 300]))
    fields = draw(st.sampled_from([(), UPGRADE, ("X: y", "X: z"), ("Expect: 100-continue",), ("X: " + "y" * 5000,)]))
    if draw(st.booleans()):
        return Sent(post(body, target, *fields), target, body)
    cut = draw(st.integers(0, 99)) * size // 99
    pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
    return Sent(chunked(*pieces, path=target, fields=fields), target, body)


class TestCuts:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(requests(), min_size=1, max_size=4), st.booleans(), st.lists(st.integers(0, 10**6), max_size=6))
    def test_the_same_requests_come_out(self, sent: list[Sent], again: bool, places: list[int]) -> None:
        sent = sent + sent[-1:] if again else sent  # a head that is known by then
        conversation = b"".join(each.data for each in sent)
        cuts = [place % len(conversation) for place in places]
        with an_ingress() as ingress:
            client = ingress.http1()
            send_in_pieces(client, conversation, cuts)
            ingress.settle(10 * len(sent))
            assert ingress.service.targets == [each.target for each in sent]
            assert ingress.service.bodies == [each.body for each in sent]
            assert [status for status in client.statuses() if status != 100] == [200] * len(sent)
            assert ingress.listener.buffered == 0

    @pytest.mark.parametrize(
        "first",
        [post(b"abc"), chunked(b"ab", b"c"), post(b"abc", "/", *UPGRADE), chunked(b"ab", b"c", fields=UPGRADE), get()],
        ids=["length", "chunks", "upgrade and length", "upgrade and chunks", "no body"],
    )
    def test_at_each_byte_in_turn(self, first: bytes) -> None:
        conversation = first + post(b"second", "/second")
        for cut in range(len(conversation)):
            with an_ingress() as ingress:
                client = ingress.http1()
                send_in_pieces(client, conversation, [cut])
                assert client.statuses() == [200, 200]
                assert ingress.service.bodies == [b"" if first == get() else b"abc", b"second"]

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (get("/", "Host: b"), 400),
            (get("/").replace(b"\r\n", b"\n"), 400),
            (get("*"), 400),
            (get("/", "X: " + "a" * 1000), 431),
            (post(bytes(300)), 413),
            (CHUNKED + b"1\r\naX", 400),
            (CHUNKED + b"100\r\n" + bytes(256) + b"\r\n0\r\n\r\n", 413),
            (CHUNKED + b"1;" + b"x" * 600 + b"\r\n", 400),
        ],
    )
    def test_a_refusal_is_the_same_and_the_next_request_is_not_read(self, request_bytes: bytes, status: int) -> None:
        limits = Limits(body_bytes=200, header_bytes=512)
        for size in (1, 7, 100, 10_000):
            with an_ingress(limits) as ingress:
                client = ingress.http1()
                conversation = get("/first") + request_bytes + get("/third")
                send_in_pieces(client, conversation, range(size, len(conversation), size))
                assert client.statuses() == [200, status]
                assert ingress.service.targets == ["/first"]
                assert ingress.listener.buffered == 0


# Pipelining -----------------------------------------------------------------------------------------------------------


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
            refused(client, 503, "too many request bytes")

    def test_a_refusal_waits_for_its_turn(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(get("/held") + b"no HTTP\r\n\r\n")
            assert client.receive() == b""
            ingress.service.release()
            ingress.settle()
            assert client.answer().status == 200
            refused(client, 400, "malformed HTTP request")

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


# Continue and upgrade -------------------------------------------------------------------------------------------------


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
            refused(client, 413, "larger than 2 bytes")


class TestUpgrade:
    def test_is_ignored_with_large_bodies_too(self) -> None:
        body = bytes(LARGE + 100)
        with an_ingress() as ingress:
            client = ingress.http1()
            send_in_pieces(client, post(body, "/", *UPGRADE) + get("/next"), [200, 10_000])
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
            refused(client, 405, "Method Not Allowed")
            assert ingress.service.targets == []


# Limits ---------------------------------------------------------------------------------------------------------------


class TestHeads:
    @pytest.mark.parametrize(
        ("request_bytes", "status", "words"),
        [
            (get("/" + "a" * 8192), 414, "longer than 8192 bytes"),
            (get("/", *(f"X{number}: y" for number in range(8))), 431, "more than 8 header fields"),
            (get("/", "X: " + "y" * 10_000), 431, "larger than 10000 bytes"),
            (get("/", "X" * 10_000 + ": y"), 431, "larger than 10000 bytes"),
            (get("/", *(f"X{number}: {'y' * 2000}" for number in range(5))), 431, "larger than 10000 bytes"),
            (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, 431, "larger than 10000 bytes"),
            (get("/", "Content-Type: a", "Content-Type: a"), 400, "content-type: expected at most one"),
        ],
    )
    @pytest.mark.parametrize("size", [100, 1_000_000])
    def test_limits(self, request_bytes: bytes, status: int, words: str, size: int) -> None:
        with an_ingress(Limits(headers=8, header_bytes=10_000)) as ingress:
            client = ingress.http1()
            send_in_pieces(client, request_bytes, range(size, len(request_bytes), size))
            refused(client, status, words)
            assert ingress.service.targets == []

    def test_just_within_them(self) -> None:
        with an_ingress(Limits(headers=8, header_bytes=10_000)) as ingress:
            client = ingress.http1()
            fields = [f"X{number}: y" for number in range(7)]
            assert client.ask(get("/", *fields)).status == 200
            assert client.ask(get("/" + "a" * 8191)).status == 200
            spare = 10_000 - len(get("/", "X: "))
            assert client.ask(get("/", "X: " + "y" * spare)).status == 200
            client.send(get("/", "X: " + "y" * (spare + 1)))
            refused(client, 431, "larger")

    def test_repeated_fields_are_joined_and_blanks_at_the_end_dropped(self) -> None:
        with an_ingress() as ingress:
            ingress.http1().ask(get("/", "x-A: 1 \t", "X-a:2", "X-A:"))
            assert ingress.service.requests[0].headers == {b"host": b"gateway", b"x-a": b"1, 2,"}

    def test_trailers_change_nothing(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            client.send(CHUNKED + b"1\r\na\r\n0\r\nHost: evil\r\nX: y\r\n\r\n" + get("/next"))
            assert client.statuses() == [200, 200]
            assert ingress.service.requests[0].headers[b"host"] == b"gateway"
            assert b"x" not in ingress.service.requests[0].headers


class TestChunks:
    """What is not data may take no more room than the limit of a head, and twice the data."""

    @pytest.mark.parametrize("count", [0, 10, 2000])
    def test_extensions(self, count: int) -> None:
        limits = Limits(header_bytes=1000)
        body = CHUNKED + b"".join(b"1\r\na\r\n" for _ in range(count))
        with an_ingress(limits) as ingress:
            client = ingress.http1()
            client.send(body[:PIECE_BYTES])
            if count < 200:
                client.send(b"1;" + b"x" * (1000 - 6 * count - 10))
                assert client.receive() == b""
                client.send(b"x" * (2 * count + 100))
            else:
                client.send(body[PIECE_BYTES:])
            refused(client, 400, "more framing than data")
            assert ingress.listener.buffered == 0

    def test_trailers(self) -> None:
        with an_ingress(Limits(header_bytes=1000)) as ingress:
            client = ingress.http1()
            client.send(CHUNKED + b"0\r\n")
            for _ in range(20):
                client.send(b"X: " + b"y" * 60 + b"\r\n")
            refused(client, 400, "more framing than data")

    def test_each_request_has_its_own_allowance(self) -> None:
        padded = CHUNKED + b"1;" + b"x" * 600 + b"\r\na\r\n0\r\n\r\n"
        with an_ingress(Limits(header_bytes=1000)) as ingress:
            client = ingress.http1()
            for _ in range(5):
                assert client.ask(padded).status == 200


class TestCounting:
    """`listener.buffered` is what requests hold, from the arrival of their bytes to the end of their answers."""

    @pytest.mark.parametrize("head", [post(b"", "/", length=3000), CHUNKED + b"bb8\r\n"], ids=["length", "chunk"])
    def test_a_body_counts_from_its_first_byte(self, head: bytes) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(head + bytes(1000))
            assert ingress.listener.buffered == 1000
            client.send(bytes(2000) + (b"\r\n0\r\n\r\n" if b"chunked" in head else b""))
            assert (ingress.listener.buffered, ingress.listener.requests_in_flight) == (3000, 1)
            ingress.service.release()
            ingress.settle()
            assert (ingress.listener.buffered, ingress.listener.requests_in_flight) == (0, 0)

    @pytest.mark.parametrize("size", [10, PIECE_BYTES, LARGE * 2])
    @pytest.mark.parametrize("known", [False, True], ids=["the first time", "again"])
    def test_a_client_that_leaves_gives_all_back(self, size: int, known: bool) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            if known:
                client.ask(post(bytes(size)))
            client.send(post(bytes(size))[:-1])
            assert ingress.listener.buffered == size - 1
            client.close()
            assert ingress.listener.buffered == 0

    @pytest.mark.parametrize("size", [2000, LARGE * 2])
    def test_a_client_that_leaves_what_waits(self, size: int) -> None:
        with an_ingress(Limits(pipelined=1)) as ingress:
            client = ingress.http1()
            ingress.service.holding = True
            client.send(post(bytes(size)) * 4)
            assert ingress.listener.buffered > size
            client.close()
            assert (ingress.listener.buffered, ingress.service.cancelled) == (0, 1)

    @pytest.mark.parametrize("size", [100, LARGE * 2])
    @pytest.mark.parametrize("known", [False, True], ids=["the first time", "again"])
    def test_all_bodies_together_have_a_limit(self, size: int, known: bool) -> None:
        with an_ingress(Limits(buffered_bytes=size * 2)) as ingress:
            client = ingress.http1()
            if known:
                assert client.ask(post(bytes(size))).status == 200
            others = [self.held(ingress, size) for _ in range(2)]
            client.send(post(bytes(size)))
            refused(client, 503, "too many request bytes")
            assert ingress.listener.buffered == size * 2
            for other in others:
                other.close()

    def held(self, ingress: Ingress, size: int) -> Http1Client:
        client = ingress.http1()
        client.send(post(bytes(size), length=size + 1))
        return client


# Deadlines ------------------------------------------------------------------------------------------------------------


HEADER, BODY_SECONDS, IDLE = 2.0, 4.0, 6.0
DEADLINES = Deadlines(header=HEADER, body=BODY_SECONDS, idle=IDLE)
QUANTUM = int(BODY_BYTES_PER_SECOND * BODY_SECONDS)


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
            refused(client, 408, "the request's head did not arrive in time")

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
            refused(client, 408, "the request's body did not arrive in time")
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
            refused(client, 408, "body")

    def test_progress_buys_no_more_than_one_period(self) -> None:
        with an_ingress(deadlines=DEADLINES) as ingress:
            client = ingress.http1()
            client.send(post(b"", length=100 * QUANTUM) + bytes(50 * QUANTUM))
            ingress.wait(BODY_SECONDS * 1.01)
            refused(client, 408, "body")

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


def test_what_a_read_brings_is_counted() -> None:
    with an_ingress() as ingress:
        client = ingress.http1()
        for data in (get(), post(), post(), post(bytes(LARGE * 3))):
            before = ingress.listener.received.value
            client.send(data[:50])
            client.send(data[50:])
            assert client.answer().status == 200
            assert ingress.listener.received.value - before == len(data)
