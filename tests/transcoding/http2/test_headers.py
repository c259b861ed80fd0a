"""What makes a header block well-formed (RFC 9113 §8)."""

from __future__ import annotations

import pytest

from tests.support.http2 import REQUEST, RESPONSE
from transcoding.http2.headers import PLAIN, HeaderBlock, Pair, kind_of, request_block, response_block


def special(fields: list[Pair]) -> list[tuple[int, int, Pair]]:
    kinds = [(position, kind_of(*pair), pair) for position, pair in enumerate(fields)]
    return [one for one in kinds if one[1] != PLAIN]


def request(fields: list[Pair]) -> HeaderBlock:
    return request_block(tuple(fields), special(fields))


def response(fields: list[Pair]) -> HeaderBlock:
    return response_block(tuple(fields), special(fields))


@pytest.mark.parametrize(
    "fields",
    [
        REQUEST,
        [
            *REQUEST,
            (b"te", b"trailers"),
            (b"content-length", b"12"),
            (b"x", b""),
            (b"y", b"a b\tc"),
            (b"z", b"\xc3\xa4"),
        ],
        [(b":path", b"*"), (b":method", b"OPTIONS"), (b":scheme", b"https")],
        [(b":method", b"CONNECT"), (b":authority", b"host:1")],
        [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/?a=b")],
    ],
)
def test_good_requests(fields: list[Pair]) -> None:
    assert request(fields).error is None


@pytest.mark.parametrize(
    "fields",
    [
        [],
        REQUEST[1:],
        [REQUEST[0], *REQUEST[2:]],
        [*REQUEST[:2], REQUEST[3]],
        [*REQUEST, REQUEST[2]],
        [*REQUEST, (b":protocol", b"websocket")],
        [*REQUEST, (b":status", b"200")],
        [*REQUEST[:3], (b"x", b"y"), REQUEST[3]],
        [REQUEST[0], REQUEST[1], (b":path", b"")],
        [REQUEST[0], REQUEST[1], (b":path", b"a")],
        [REQUEST[0], REQUEST[1], (b":path", b"*")],
        [REQUEST[0], REQUEST[1], (b":path", b"/a b")],
        [REQUEST[0], REQUEST[1], (b":path", b"/\xc3\xa4")],
        [REQUEST[0], REQUEST[1], (b":path", b"/a\r\nx: y")],
        [(b":method", b"PO ST"), *REQUEST[1:]],
        [REQUEST[0], (b":scheme", b""), REQUEST[2]],
        [(b":method", b"CONNECT"), (b":authority", b"host"), (b":path", b"/")],
        [(b":method", b"CONNECT")],
    ],
)
def test_bad_requests(fields: list[Pair]) -> None:
    assert request(fields).error is not None


@pytest.mark.parametrize(
    "field",
    [
        (b"X", b"y"),
        (b"", b"y"),
        (b"a b", b"y"),
        (b"a:", b"y"),
        (b"\xff", b"y"),
        (b"x", b"a\rb"),
        (b"x", b"a\nb"),
        (b"x", b"a\0b"),
        (b"x", b"a\x7f"),
        (b"x", b" a"),
        (b"x", b"a\t"),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"keep-alive", b"1"),
        (b"upgrade", b"h2c"),
        (b"proxy-connection", b"close"),
        (b"te", b"gzip"),
        (b"content-length", b"+1"),
        (b"content-length", b""),
        (b"content-length", b"1, 1"),
        (b"content-length", b"9" * 19),
    ],
)
def test_fields_that_no_block_may_have(field: Pair) -> None:
    for block in (request([*REQUEST, field]), response([*RESPONSE, field])):
        assert block.error is not None
        assert block.trailers_error is not None


def test_content_length_stands_once() -> None:
    assert request([*REQUEST, (b"content-length", b"17")]).content_length == 17
    assert request(REQUEST).content_length == -1
    assert request([*REQUEST, (b"content-length", b"1"), (b"content-length", b"1")]).error is not None


def test_responses_need_one_status() -> None:
    assert response(RESPONSE).error is None
    for status in (b"", b"20", b"2000", b"abc", b"099", b"101"):
        assert response([(b":status", status)]).error is not None
    assert response([]).error is not None
    assert response([*RESPONSE, (b":path", b"/")]).error is not None
    assert [response([(b":status", status)]).informational for status in (b"100", b"103", b"200")] == [
        True,
        True,
        False,
    ]


def test_trailers_have_no_pseudo_header() -> None:
    fields = [(b"grpc-status", b"0"), (b"x", b"y")]
    for judge in (request, response):
        assert judge(fields).trailers_error is None
        assert judge(fields).error is not None
    assert request(REQUEST).trailers_error is not None
    assert response(RESPONSE).trailers_error is not None


def test_a_truncated_request_is_not_blamed_for_what_was_cut_off() -> None:
    fields = REQUEST[:1]
    assert request_block(tuple(fields), special(fields), True).error is None
