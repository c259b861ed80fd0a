"""HTTP/1.1 that is wrong on purpose: framing that two hops could read differently, and requests that should not be run.

F1 to F16 are the cases of the adversarial suite. Each answer is a client's error, nothing behind it is executed, and
somebody else on the same listener notices nothing.
"""

from __future__ import annotations

import threading

import pytest

from tests.support.hostile import MIB, SCALE, HostileGateway
from tests.support.raw_client import BODY, INFER, chunked, get, post

VICTIM = "/v2/models/big/infer"
SMUGGLED = post(path=VICTIM)

POST_LINE = f"POST {INFER} HTTP/1.1\r\nHost: gateway\r\n".encode()
CHUNKED_HEAD = POST_LINE + b"Transfer-Encoding: chunked\r\n\r\n"
A_CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)


def with_field(line: bytes) -> bytes:
    """A request whose head has this line, whatever it is, before its end."""
    return b"GET /v2/health/live HTTP/1.1\r\nHost: gateway\r\n" + line + b"\r\n"


def with_length(value: str) -> bytes:
    return POST_LINE + f"Content-Length: {value}\r\n\r\n".encode() + BODY


def with_coding(value: str) -> bytes:
    return POST_LINE + f"Transfer-Encoding: {value}\r\n\r\n".encode() + A_CHUNK + b"0\r\n\r\n"


def line(method: str, target: str, version: str = "HTTP/1.1") -> bytes:
    return f"{method} {target} {version}\r\nHost: gateway\r\n\r\n".encode()


SIZE = len(BODY)
FRAMING: dict[str, tuple[bytes, set[int]]] = {
    "F1 length, then chunks": (
        POST_LINE + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "F1 chunks, then length": (
        POST_LINE + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "F2 two equal lengths": (POST_LINE + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", {400}),
    "F2 two lengths": (POST_LINE + b"Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc", {400}),
    "F2 a list of lengths": (with_length(f"{SIZE}, {SIZE}"), {400}),
    "F3 length +": (with_length(f"+{SIZE}"), {400}),
    "F3 length _": (with_length("1_0"), {400}),
    "F3 length 0x": (with_length("0x10"), {400}),
    "F3 length negative": (with_length("-1"), {400}),
    "F3 length empty": (with_length(""), {400}),
    "F3 length octal": (with_length(f"0{SIZE}"), {400}),
    "F3 length with blanks": (with_length("1 0"), {400}),
    "F3 length beyond 64 bits": (with_length("99999999999999999999999"), {400}),
    "F4 coding ,chunked": (with_coding(",chunked"), {400, 501}),
    "F4 coding identity": (with_coding("identity"), {400, 501}),
    "F4 coding xchunked": (with_coding("xchunked"), {400, 501}),
    "F4 coding chunked twice": (with_coding("chunked, chunked"), {400, 501}),
    "F4 coding gzip, chunked": (with_coding("gzip, chunked"), {400, 501}),
    "F4 coding chunked, identity": (with_coding("chunked, identity"), {400, 501}),
    "F4 coding quoted": (with_coding('"chunked"'), {400, 501}),
    "F4 coding with VT": (with_coding("\x0bchunked"), {400, 501}),
    "F4 coding empty": (with_coding(""), {400, 501}),
    "F4 two fields": (
        POST_LINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        {400, 501},
    ),
    "F5 chunks in HTTP/1.0": (chunked(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"), {400}),
    "F6 chunk size 0x": (CHUNKED_HEAD + b"0x1\r\na\r\n0\r\n\r\n", {400}),
    "F6 chunk size +": (CHUNKED_HEAD + b"+1\r\na\r\n0\r\n\r\n", {400}),
    "F6 chunk size -": (CHUNKED_HEAD + b"-1\r\na\r\n0\r\n\r\n", {400}),
    "F6 chunk size empty": (CHUNKED_HEAD + b"\r\na\r\n0\r\n\r\n", {400}),
    "F6 chunk size with a blank": (CHUNKED_HEAD + b"1 \r\na\r\n0\r\n\r\n", {400}),
    "F6 chunk size beyond 64 bits": (CHUNKED_HEAD + b"10000000000000000\r\na\r\n0\r\n\r\n", {400}),
    "F6 chunk line ends with LF": (CHUNKED_HEAD + b"1\na\n0\n\n", {400}),
    "F6 chunk longer than its size": (CHUNKED_HEAD + b"1\r\nab\r\n0\r\n\r\n", {400}),
    "F6 chunk without its line end": (CHUNKED_HEAD + b"1\r\na0\r\n\r\n", {400}),
    "F6 LF in a chunk extension": (CHUNKED_HEAD + b"1;\nx\r\na\r\n0\r\n\r\n", {400}),
    "F7 trailer with a length": (CHUNKED_HEAD + A_CHUNK + b"0\r\nContent-Length: 5\r\n\r\n", {400}),
    "F7 many trailers": (CHUNKED_HEAD + A_CHUNK + b"0\r\n" + b"X: y\r\n" * 500 + b"\r\n", {431}),
    "F8 CR in a value": (with_field(b"X: a\rb\r\n"), {400}),
    "F8 NUL in a value": (with_field(b"X: a\0b\r\n"), {400}),
    "F8 control character in a value": (with_field(b"X: a\x01b\r\n"), {400}),
    "F8 line ends with LF": (with_field(b"X: a\n"), {400}),
    "F8 all lines end with LF": (b"GET /v2/health/live HTTP/1.1\nHost: gateway\n\n", {400}),
    "F8 folded line": (with_field(b"X: a\r\n b\r\n"), {400}),
    "F8 folded line at once": (b"GET /v2/health/live HTTP/1.1\r\n Host: gateway\r\n\r\n", {400}),
    "F8 blank before the colon": (with_field(b"Content-Length : 5\r\n"), {400}),
    "F8 no colon": (with_field(b"Xa\r\n"), {400}),
    "F8 no name": (with_field(b": a\r\n"), {400}),
    "F8 parenthesis in a name": (with_field(b"X(: a\r\n"), {400}),
    "F9 no host": (b"GET /v2/health/live HTTP/1.1\r\n\r\n", {400}),
    "F9 two hosts": (with_field(b"Host: other\r\n"), {400}),
    "F9 two equal hosts": (with_field(b"Host: gateway\r\n"), {400}),
    "F9 empty host": (b"GET /v2/health/live HTTP/1.1\r\nHost:\r\n\r\n", {400}),
    "F9 host with a path": (b"GET /v2/health/live HTTP/1.1\r\nHost: a/b\r\n\r\n", {400}),
    "F9 host with a user": (b"GET /v2/health/live HTTP/1.1\r\nHost: a@b\r\n\r\n", {400}),
    "F9 list of hosts": (b"GET /v2/health/live HTTP/1.1\r\nHost: a, b\r\n\r\n", {400}),
    "F10 another authority": (line("GET", "http://evil/v2/health/live"), {400, 421}),
    "F10 another scheme": (line("GET", "ftp://gateway/v2/health/live"), {400}),
    "F10 no path": (line("GET", "*"), {400}),
    "F10 fragment": (line("GET", "/v2/health/live#x"), {400}),
    "F11 CONNECT": (line("CONNECT", "gateway:80"), {400, 405}),
    "F11 TRACE": (line("TRACE", "/v2/health/live"), {400, 405}),
    "F11 lower case": (line("get", "/v2/health/live"), {400, 405}),
    "F11 unknown": (line("FOO", "/v2/health/live"), {400, 405}),
    "F11 WebDAV": (line("PROPFIND", "/v2/health/live"), {400, 405}),
    "version 0.9": (b"GET /v2/health/live\r\n\r\n", {400, 505}),
    "version 2.0": (line("GET", "/v2/health/live", "HTTP/2.0"), {400, 505}),
    "version 1.2": (line("GET", "/v2/health/live", "HTTP/1.2"), {400, 505}),
    "blank in the target": (line("GET", "/v2 /x"), {400}),
    "NUL in the target": (line("GET", "/v2/\0"), {400}),
    "a broken HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", {400}),
    "target of 10 KB": (line("GET", "/v2/models/" + "a" * 10_000), {414}),
    "F14 unknown expectation": (post(BODY, INFER, "Expect: tea"), {417}),
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("bystander")


@pytest.mark.parametrize("case", FRAMING)
def test_framing_is_refused_and_nothing_behind_it_is_run(hostile: HostileGateway, case: str) -> None:
    request, expected = FRAMING[case]
    victims = hostile.backend.requests["big"]
    with hostile.connect() as client:
        client.send(request + SMUGGLED)
        answer = client.answer()
        assert answer.status in expected, answer
        assert answer.headers["connection"] == "close"
        assert answer.error
        assert client.rest() == b""
    assert hostile.backend.requests["big"] == victims


@pytest.mark.parametrize("case", ["F2 two lengths", "F6 chunk size 0x", "F8 NUL in a value", "F9 two hosts"])
def test_framing_is_refused_in_any_pieces(hostile: HostileGateway, case: str) -> None:
    request, expected = FRAMING[case]
    with hostile.connect() as client:
        for index in range(len(request)):
            if client.send_what_fits([request[index : index + 1]]) == 0:
                break
        assert client.answer().status in expected


def test_a_refusal_echoes_nothing(hostile: HostileGateway) -> None:
    with hostile.connect() as client:
        answer = client.ask(with_field(b"X: <script>alert(1)</script>\0\r\n"))
        assert b"script" not in answer.body


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_refused_head_has_no_body(hostile: HostileGateway, method: str) -> None:
    with hostile.connect() as client:
        client.send(get("/v2/health/live", "Host: other", method=method))
        answer = client.answer(head=method == "HEAD")
        assert answer.status == 400
        assert client.rest() == b""


def test_f7_chunk_extensions_cost_nothing(hostile: HostileGateway) -> None:
    """Small ones are ignored; 64 KB of them are an attack."""
    with hostile.connect() as client:
        head = get(INFER, "Transfer-Encoding: chunked", method="POST")
        sized = b"%x;name=value\r\n%b\r\n0;last\r\n\r\n" % (SIZE, BODY)
        assert client.ask(head + sized).status == 200
        client.send(head)
        with hostile.memory_within(2 * MIB):
            client.send_what_fits([b"1;" + b"a" * 65536 + b"\r\na\r\n"] * 16)
            assert client.answer().status == 400


def test_f7_trailers_are_dropped_and_a_megabyte_of_them_refused(hostile: HostileGateway) -> None:
    with hostile.connect() as client:
        chunks = CHUNKED_HEAD + A_CHUNK + b"0\r\n"
        assert client.ask(chunks + b"X-Checksum: 1\r\nHost: evil\r\n\r\n").status == 200
        client.send(chunks)
        with hostile.memory_within(2 * MIB):
            client.send_what_fits([b"X: " + b"a" * MIB + b"\r\n\r\n"])
            assert client.answer().status in (400, 431)


def test_chunks_of_one_byte_are_refused_when_they_are_many(hostile: HostileGateway) -> None:
    with hostile.connect() as client:
        assert client.ask(chunked(*(BODY[i : i + 1] for i in range(SIZE)))).status == 200
        with hostile.memory_within(4 * MIB):
            client.send(CHUNKED_HEAD)
            client.send_what_fits([b"1\r\n \r\n" * 10_000] * 20)
            assert client.answer().status == 400


def test_f10_absolute_form_of_this_host_is_served(hostile: HostileGateway) -> None:
    with hostile.connect() as client:
        assert client.ask(line("GET", "http://GATEWAY/v2/health/live")).status == 200


def test_f12_pipelining_is_bounded_fair_and_in_order(hostile: HostileGateway) -> None:
    count = 10_000 * SCALE
    ids = [post(b'{"id":"%d",' % index + BODY[1:]) if index % 100 == 0 else get() for index in range(count)]
    with hostile.memory_within(8 * MIB), hostile.connect() as client:
        sender = threading.Thread(target=client.send, args=(b"".join(ids),))
        sender.start()
        for index in range(count):
            answer = client.answer()
            assert answer.status == 200
            if index % 100 == 0:
                assert b'"id":"%d"' % index in answer.body
        sender.join()


def test_f12_of_a_slow_request_only_some_wait_and_the_rest_is_not_read(hostile: HostileGateway) -> None:
    hostile.backend.release.clear()
    with hostile.memory_within(4 * MIB), hostile.connect() as client:
        client.send(post(path="/v2/models/slow/infer"))
        sent = client.send_what_fits([get() * 1000] * 1000)
        assert sent < 30 * MIB
    hostile.backend.release.set()


def test_f13_after_connection_close_nothing_is_run(hostile: HostileGateway) -> None:
    victims = hostile.backend.requests["big"]
    for fields in (("Connection: close",), ("Connection: Close, x",)):
        with hostile.connect() as client:
            client.send(post(BODY, INFER, *fields) + SMUGGLED)
            assert client.answer().status == 200
            assert client.rest() == b""
    assert hostile.backend.requests["big"] == victims


def test_http_1_0_closes_unless_it_asks_to_be_kept(hostile: HostileGateway) -> None:
    with hostile.connect() as client:
        client.send(get(version="1.0") + SMUGGLED)
        assert client.answer().headers["connection"] == "close"
        assert client.rest() == b""
    with hostile.connect() as client:
        for _ in range(2):
            assert client.ask(get("/v2/health/live", "Connection: keep-alive", version="1.0")).status == 200


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(hostile: HostileGateway) -> None:
    body = b'{"IN":[1],"parameters":{"count":3,"size":2}}'
    with hostile.connect() as client:
        request = post(body, "/v2/models/stream/generate_stream", "Connection: keep-alive")
        client.send(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
        text = client.rest()
        assert b"Transfer-Encoding" not in text
        assert text.count(b"data: {") == 3


def test_f14_continue_is_sent_when_the_body_is_wanted(hostile: HostileGateway) -> None:
    head = post(b"", INFER, "Expect: 100-continue", length=SIZE)
    with hostile.connect() as client:
        assert client.ask(head).status == 100
        assert client.ask(BODY).status == 200
        client.send(get() + head)
        assert [client.answer().status for _ in range(2)] == [200, 100]
        assert client.ask(BODY).status == 200
        assert client.ask(head + BODY).status in (100, 200)


def test_f14_a_body_that_is_too_large_is_refused_before_continue(hostile: HostileGateway) -> None:
    with hostile.connect() as client:
        answer = client.ask(post(b"", INFER, "Expect: 100-continue", length=10**12))
        assert answer.status == 413
        assert client.rest() == b""


@pytest.mark.parametrize("request_bytes", [post(BODY), chunked(BODY[:9], BODY[9:])], ids=["length", "chunks"])
def test_f15_an_upgrade_to_h2c_is_ignored_and_the_body_is_not_tunnelled(
    hostile: HostileGateway, request_bytes: bytes
) -> None:
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    head, _, body = request_bytes.partition(b"\r\n\r\n")
    asking = head + b"\r\n" + fields + b"\r\n" + body
    with hostile.connect() as client:
        client.send(asking + asking + get())
        answers = [client.answer() for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert b'"outputs"' in answers[0].body
        assert b'"outputs"' in answers[1].body
    with hostile.connect() as client:
        for index in range(len(asking)):
            client.send(asking[index : index + 1])
        assert client.answer().status == 200


def test_f15_websockets_are_ignored_too(hostile: HostileGateway) -> None:
    with hostile.connect() as client:
        request = get("/v2/health/live", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        assert client.ask(request).status == 200
        assert client.ask(get()).status == 200


@pytest.mark.parametrize("size", [100_000_000, 100_000_000_000])
def test_f16_an_answer_before_the_end_of_the_body_arrives_and_ends_the_connection(
    hostile: HostileGateway, size: int
) -> None:
    """The client sends on as if nothing was: it can still read the answer, and what it sent is no request."""
    victims = hostile.backend.requests["big"]
    with hostile.memory_within(4 * MIB), hostile.connect() as client:
        client.send(post(b"", INFER, length=size))
        client.send_what_fits([SMUGGLED * 1000] * 20)
        answer = client.answer()
        assert answer.status == 413
        assert "64" in answer.error or "67108864" in answer.error
        assert client.rest() == b""
    assert hostile.backend.requests["big"] == victims


def test_f16_a_chunked_body_that_grows_too_large(hostile: HostileGateway) -> None:
    with hostile.memory_within(4 * MIB), hostile.connect("small") as client:
        client.send(CHUNKED_HEAD)
        client.send_what_fits([b"4000\r\n" + bytes(0x4000) + b"\r\n"] * 100)
        assert client.answer().status == 413
        assert client.rest() == b""


def test_requests_of_one_connection_can_be_counted(hostile: HostileGateway) -> None:
    with hostile.connect("counted") as client:
        client.send(get() * 5)
        answers = [client.answer() for _ in range(3)]
        assert [answer.headers.get("connection") for answer in answers] == [None, None, "close"]
        assert client.rest() == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get("/v2/health/live", "X: " + "a" * 3000), 431),
        (get("/v2/health/live", "X" * 3000 + ": a"), 431),
        (get("/v2/health/live", *(f"X{index}: a" for index in range(20))), 431),
        (get("/v2/health/live", *("X: " + "a" * 200 for _ in range(15))), 431),
        (post(bytes(70_000)), 413),
        (post(b"", length=70_000), 413),
    ],
)
def test_heads_and_bodies_have_limits(hostile: HostileGateway, request_bytes: bytes, status: int) -> None:
    with hostile.connect("small") as client:
        client.send_what_fits([request_bytes])
        assert client.answer().status == status
        assert client.rest() == b""


def test_s14_header_bombs_stop_at_the_limit(hostile: HostileGateway) -> None:
    bomb = b"".join(b"X%d: " % index + b"a" * 8000 + b"\r\n" for index in range(128))
    with hostile.memory_within(8 * MIB):
        for endless in (bomb, b"X: " + b"a" * MIB, b"a" * MIB):
            for _ in range(10 * SCALE):
                with hostile.connect() as client:
                    client.send(b"GET / HTTP/1.1\r\nHost: gateway\r\n")
                    client.send_what_fits([endless])
                    assert client.answer().status == 431


def test_empty_lines_before_a_request_are_skipped_and_do_not_last(hostile: HostileGateway) -> None:
    with hostile.connect() as client:
        assert client.ask(b"\r\n" * 3 + get()).status == 200
        assert client.ask(b"\r\n" + get()).status == 200
