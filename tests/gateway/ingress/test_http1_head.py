"""What the head of an HTTP/1.1 request must be: each refusal with its status and its words."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import Limits
from gateway.ingress.http1_head import (
    CHUNKED,
    METHODS,
    SINGLE_FIELDS,
    Message,
    Refusal,
    check_head,
    content_length,
    head_bytes,
    head_too_large,
    join,
    origin_form,
    plain_head,
    target_too_long,
    too_large,
)

LIMITS = Limits(body_bytes=1000)
LARGE = "request body larger than 1000000000000 bytes"
NO_HOST = "host: expected exactly one"
BAD_HOST = "host: expected a name or an address, and a port"
BAD_TARGET = "request target: expected a path"
BAD_LENGTH = "content-length: expected a decimal number"


def check(
    method: bytes = b"POST", version: str = "1.1", target: bytes = b"/", host: bytes | None = b"a", **fields: bytes
) -> Message:
    """The verdict on a head; underscores in the names of fields stand for hyphens."""
    headers = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    if host is not None:
        headers[b"host"] = host
    return check_head(method, version, target, headers, LIMITS)


def length_or_status(value: bytes, limit: int) -> int | tuple[int, str]:
    try:
        return content_length(value, limit)
    except Refusal as refusal:
        return refusal.status, refusal.message


class TestRefusals:
    @pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"get", b"PROPFIND", b"", b"GET "])
    def test_methods(self, method: bytes) -> None:
        with pytest.raises(Refusal) as caught:
            check(method)
        assert (caught.value.status, caught.value.message) == (405, "Method Not Allowed")

    @pytest.mark.parametrize("version", ["0.9", "2.0", "1.2", "11"])
    def test_versions(self, version: str) -> None:
        with pytest.raises(Refusal) as caught:
            check(version=version)
        assert (caught.value.status, caught.value.message) == (505, f"HTTP/{version} is not supported")

    @pytest.mark.parametrize(
        "host",
        [
            b"",
            b" ",
            b"a/b",
            b"user@a",
            b"a, b",
            b"a b",
            b"a:1:2",
            b"a:b",
            b":80",
            b"a:123456",
            b"[::1",
            b"[a]b",
            b"a\n",
        ],
    )
    def test_hosts(self, host: bytes) -> None:
        with pytest.raises(Refusal) as caught:
            check(host=host)
        assert (caught.value.status, caught.value.message) == (400, BAD_HOST)

    def test_no_host(self) -> None:
        with pytest.raises(Refusal) as caught:
            check(host=None)
        assert (caught.value.status, caught.value.message) == (400, NO_HOST)

    @pytest.mark.parametrize(
        ("fields", "status", "message"),
        [
            ({"transfer_encoding": b"gzip, chunked"}, 501, "transfer-encoding: expected chunked"),
            ({"transfer_encoding": b"identity"}, 501, "transfer-encoding: expected chunked"),
            ({"transfer_encoding": b""}, 501, "transfer-encoding: expected chunked"),
            (
                {"transfer_encoding": b"chunked", "content_length": b"3"},
                400,
                "transfer-encoding: not together with content-length, nor in HTTP/1.0",
            ),
            (
                {"transfer_encoding": b"chunked", "version": "1.0"},
                400,
                "transfer-encoding: not together with content-length, nor in HTTP/1.0",
            ),
            ({"content_length": b"x"}, 400, BAD_LENGTH),
            ({"content_length": b"1001"}, 413, "request body larger than 1000 bytes"),
            ({"expect": b"tea"}, 417, "expect: only 100-continue is understood"),
            ({"expect": b""}, 417, "expect: only 100-continue is understood"),
        ],
    )
    def test_fields(self, fields: dict[str, bytes], status: int, message: str) -> None:
        with pytest.raises(Refusal) as caught:
            check(**fields)  # type: ignore[arg-type]
        assert (caught.value.status, caught.value.message) == (status, message)

    def test_those_that_are_made_elsewhere(self) -> None:
        made = [(each.status, each.message) for each in (target_too_long(), head_too_large(7), too_large(8))]
        assert made == [
            (414, "request target longer than 8192 bytes"),
            (431, "request head larger than 7 bytes"),
            (413, "request body larger than 8 bytes"),
        ]


class TestWhatIsTaken:
    @pytest.mark.parametrize("method", sorted(METHODS))
    def test_methods(self, method: bytes) -> None:
        message = check(method)
        assert (message.method, message.old, message.length, message.keep) == (method, False, None, False)

    @pytest.mark.parametrize("host", [b"a", b"a:80", b"a:", b"[::1]", b"[::1]:8080", b"127.0.0.1", b"x-y_z.~%20"])
    def test_hosts(self, host: bytes) -> None:
        assert check(host=host).headers == {b"host": host}

    def test_http_1_0_needs_no_host_and_has_no_expectations(self) -> None:
        message = check(version="1.0", host=None, expect=b"tea", content_length=b"3")
        assert (message.old, message.length, message.wants_continue) == (True, 3, False)

    @pytest.mark.parametrize("coding", [b"chunked", b"Chunked"])
    def test_chunks(self, coding: bytes) -> None:
        assert check(transfer_encoding=coding).length == CHUNKED

    @pytest.mark.parametrize(
        ("fields", "wanted"),
        [
            ({"content_length": b"3"}, True),
            ({"transfer_encoding": b"chunked"}, True),
            ({"content_length": b"0"}, False),
            ({}, False),
        ],
    )
    def test_continue_is_wanted_for_a_body(self, fields: dict[str, bytes], wanted: bool) -> None:
        assert check(expect=b"100-Continue", **fields).wants_continue == wanted  # type: ignore[arg-type]
        assert not check(**fields).wants_continue  # type: ignore[arg-type]


class TestTargets:
    @pytest.mark.parametrize("target", [b"/", b"/v2", b"//v2", b"/a?b=c", b"/http://b/", b"/%23", b"/*"])
    def test_paths_are_taken_as_they_are(self, target: bytes) -> None:
        assert check(target=target).target == target

    @pytest.mark.parametrize(
        ("target", "path"),
        [
            (b"http://a/v2", b"/v2"),
            (b"HTTPS://A/v2?x=//y", b"/v2?x=//y"),
            (b"http://a", b"/"),
            (b"http://a//v2", b"//v2"),
        ],
    )
    def test_absolute_ones_of_this_host_lose_it(self, target: bytes, path: bytes) -> None:
        assert check(target=target).target == path

    @pytest.mark.parametrize("target", [b"http://b/v2", b"http://a:80/v2", b"http://x@a/v2", b"http:///v2", b"http://"])
    def test_absolute_ones_of_another_host(self, target: bytes) -> None:
        with pytest.raises(Refusal) as caught:
            check(target=target)
        assert (caught.value.status, caught.value.message) == (421, "the request target names another host")

    def test_absolute_ones_without_a_host_to_compare(self) -> None:
        with pytest.raises(Refusal) as caught:
            origin_form(b"http://a/", None)
        assert caught.value.status == 421

    @pytest.mark.parametrize(
        "target", [b"", b"*", b"v2", b"a:80", b"ftp://a/v2", b"://a/", b"/v2#x", b"http://a/#", b"http:/a", b"?x"]
    )
    def test_others(self, target: bytes) -> None:
        with pytest.raises(Refusal) as caught:
            check(target=target)
        assert (caught.value.status, caught.value.message) == (400, BAD_TARGET)


class TestLengths:
    @given(st.integers(0, 10**20))
    def test_numbers_up_to_the_limit(self, number: int) -> None:
        assert length_or_status(b"%d" % number, 10**12) == (number if number <= 10**12 else (413, LARGE))

    @given(st.one_of(st.binary(max_size=6), st.from_regex(rb"[+-]?[0-9_ x.,]{0,8}", fullmatch=True)))
    def test_nothing_else_is_one(self, value: bytes) -> None:
        number = length_or_status(value, 10**12)
        assert number == (400, BAD_LENGTH) or str(number).encode() == value

    def test_a_number_that_would_take_long_to_read(self) -> None:
        with pytest.raises(Refusal) as caught:
            content_length(b"9" * 30_000, 10**30)
        assert caught.value.status == 413


class TestRepeatedFields:
    @pytest.mark.parametrize("name", sorted(SINGLE_FIELDS))
    def test_one_is_allowed(self, name: bytes) -> None:
        with pytest.raises(Refusal) as caught:
            join({name: b"1"}, name, b"1")
        assert (caught.value.status, caught.value.message) == (400, f"{name.decode()}: expected at most one")

    @pytest.mark.parametrize("name", [b"accept", b"x-any", b"connection", b"accept-encoding"])
    def test_several_are_a_list(self, name: bytes) -> None:
        headers = {name: b"a"}
        headers[name] = join(headers, name, b"")
        assert join(headers, name, b"b") == b"a, , b"


class Reader:
    """What llhttp says of a head."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: dict[bytes, bytes] = {}
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name] = value

    def on_headers_complete(self) -> None:
        self.complete = True


names = st.from_regex(rb"x-[a-z0-9-]{0,10}", fullmatch=True)
values = st.from_regex(rb"([!-~]([ -~]{0,20}[!-~])?)?", fullmatch=True)


class TestHeadsWrittenAgain:
    @given(st.dictionaries(names, values, max_size=5), st.booleans(), st.booleans())
    def test_the_same_but_for_upgrade(self, fields: dict[bytes, bytes], old: bool, upgrade: bool) -> None:
        headers = {b"host": b"a"} | fields
        asking = {b"connection": b"upgrade", b"upgrade": b"h2c"} if upgrade else {}
        message = Message(b"GET", b"/a?b", headers | asking, old)
        reader = Reader()
        parser = httptools.HttpRequestParser(reader)
        head = plain_head(message)
        parser.feed_data(head)
        assert reader.complete
        assert not parser.should_upgrade()
        expected = headers | ({b"connection": b"upgrade"} if upgrade else {})
        assert (parser.get_method(), reader.target, reader.fields) == (b"GET", b"/a?b", expected)
        assert parser.get_http_version() == ("1.0" if old else "1.1")
        assert head_bytes(b"GET", reader.target, reader.fields) == len(head)
