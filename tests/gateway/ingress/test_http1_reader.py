"""HTTP/1.1 as it arrives: the same requests whatever the cuts, within their limits, and all of it counted."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.schema import Limits
from gateway.ingress.http1_large import LARGE
from gateway.ingress.http1_reader import PIECE_BYTES
from tests.support.ingress import Http1Client, Ingress, an_ingress
from tests.support.raw_client import chunked, get, post

CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")
UPGRADE = ("Connection: Upgrade", "Upgrade: h2c")


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
            client.send_in_pieces(conversation, cuts)
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
                client.send_in_pieces(conversation, [cut])
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
                client.send_in_pieces(conversation, range(size, len(conversation), size))
                assert client.statuses() == [200, status]
                assert ingress.service.targets == ["/first"]
                assert ingress.listener.buffered == 0


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
            client.send_in_pieces(request_bytes, range(size, len(request_bytes), size))
            client.assert_refused(status, words)
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
            client.assert_refused(431, "larger")

    def test_repeated_fields_are_joined_and_blanks_at_the_end_dropped(self) -> None:
        with an_ingress() as ingress:
            ingress.http1().ask(get("/", "x-A: 1 \t", "X-a:2", "X-A:"))
            assert ingress.service.requests[0].headers == {b"host": b"gateway", b"x-a": b"1, 2,"}

    def test_what_came_twice_is_known_also_when_the_head_repeats(self) -> None:
        with an_ingress() as ingress:
            client = ingress.http1()
            for _ in range(3):
                client.ask(get("/", "X-Key: a", "X-Key: b"))
            assert [request.repeated for request in ingress.service.requests] == [(b"x-key",)] * 3

    @pytest.mark.parametrize("name", ["X_A", "Content_Length", "Transfer_Encoding", "X_Forwarded-For"])
    def test_headers_with_an_underscore_are_dropped(self, name: str) -> None:
        with an_ingress() as ingress:
            ingress.http1().ask(get("/", f"{name}: 5", "X-A: 2"))
            assert ingress.service.requests[0].headers == {b"host": b"gateway", b"x-a": b"2"}

    def test_or_refused_or_taken(self) -> None:
        with an_ingress() as ingress:
            ingress.listener.underscores = "allow"
            ingress.http1().ask(get("/", "X_A: 5"))
            assert ingress.service.requests[0].headers[b"x_a"] == b"5"
            ingress.listener.underscores = "reject"
            client = ingress.http1()
            client.send(get("/", "X_A: 6"))
            client.assert_refused(400, "underscore")

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
            client.assert_refused(400, "more framing than data")
            assert ingress.listener.buffered == 0

    def test_trailers(self) -> None:
        with an_ingress(Limits(header_bytes=1000)) as ingress:
            client = ingress.http1()
            client.send(CHUNKED + b"0\r\n")
            for _ in range(20):
                client.send(b"X: " + b"y" * 60 + b"\r\n")
            client.assert_refused(400, "more framing than data")

    def test_the_head_takes_nothing_from_it(self) -> None:
        with an_ingress(Limits(header_bytes=1000)) as ingress:
            client = ingress.http1()
            head = get("/", "Transfer-Encoding: chunked", "X: " + "y" * 800, method="POST")
            client.send_in_pieces(head, range(10, len(head), 10))
            client.send(b"1;" + b"x" * 800)
            client.send(b"\r\na\r\n0\r\n\r\n")
            assert client.statuses() == [200]

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
            client.assert_refused(503, "too many request bytes")
            assert ingress.listener.buffered == size * 2
            for other in others:
                other.close()

    def held(self, ingress: Ingress, size: int) -> Http1Client:
        client = ingress.http1()
        client.send(post(bytes(size), length=size + 1))
        return client


def test_what_a_read_brings_is_counted() -> None:
    with an_ingress() as ingress:
        client = ingress.http1()
        for data in (get(), post(), post(), post(bytes(LARGE * 3))):
            before = ingress.listener.received.value
            client.send(data[:50])
            client.send(data[50:])
            assert client.answer().status == 200
            assert ingress.listener.received.value - before == len(data)
