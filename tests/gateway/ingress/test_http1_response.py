"""HTTP/1.1 responses, read again by the parser of another project."""

from __future__ import annotations

import http.client
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingress.exchange import EVENTS, JSON, OCTETS, REASONS, Response
from gateway.ingress.http1_response import CONTINUE, LAST_CHUNK, chunk, stream_head, whole_head

FIELDS = [(b"Retry-After", b"1"), (b"Allow", b"POST"), (b"Inference-Header-Content-Length", b"12")]


class Bytes:
    """The only thing that `http.client` asks of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def read(data: bytes) -> tuple[int, str, dict[str, str], bytes]:
    """Status, reason, fields and body."""
    response = http.client.HTTPResponse(Bytes(data))  # type: ignore[arg-type]
    response.begin()
    return response.status, response.reason, dict(response.getheaders()), response.read()


class TestHeads:
    def test_the_usual_one(self) -> None:
        head = whole_head(Response(200), 12, True, False)
        assert head == b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"

    @given(
        st.sampled_from([*REASONS, 299]),
        st.sampled_from([JSON, OCTETS, EVENTS]),
        st.lists(st.sampled_from(FIELDS), unique=True),
        st.binary(max_size=20),
        st.booleans(),
        st.booleans(),
    )
    def test_all_are_read_as_they_were_meant(
        self, status: int, kind: bytes, fields: list[tuple[bytes, bytes]], body: bytes, keep: bool, old: bool
    ) -> None:
        response = Response(status, (body,), kind, fields)
        expected = {"Content-Type": kind.decode(), "Content-Length": str(len(body))}
        expected |= {name.decode(): value.decode() for name, value in fields}
        if not keep:
            expected["Connection"] = "close"
        elif old:
            expected["Connection"] = "keep-alive"
        reason = REASONS.get(status, b"").decode()
        assert read(whole_head(response, len(body), keep, old) + body) == (status, reason, expected, body)

    def test_without_a_body_there_is_no_type(self) -> None:
        assert read(whole_head(Response(200, content_type=b""), 0, True, False))[2] == {"Content-Length": "0"}

    def test_continue_is_only_a_status(self) -> None:
        assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"


class TestStreams:
    @given(st.lists(st.binary(min_size=1, max_size=300)), st.booleans())
    def test_pieces_are_what_is_read(self, pieces: list[bytes], keep: bool) -> None:
        head = stream_head(Response(200, content_type=EVENTS, fields=FIELDS[:1]), keep, False)
        status, _, fields, body = read(head + b"".join(map(chunk, pieces)) + LAST_CHUNK)
        assert (status, body) == (200, b"".join(pieces))
        assert ("Connection" in fields, fields["Transfer-Encoding"]) == (not keep, "chunked")
        assert (fields["Content-Type"], fields["Retry-After"]) == (EVENTS.decode(), "1")

    def test_an_empty_piece_does_not_end_it(self) -> None:
        """A chunk of no bytes is the last one (RFC 9112 §7.1); what follows would be taken for another response."""
        head = stream_head(Response(200, content_type=EVENTS), True, False)
        assert read(head + b"".join(map(chunk, (b"a", b"", b"b"))) + LAST_CHUNK)[3] == b"ab"

    def test_http_1_0_knows_no_chunks(self) -> None:
        head = stream_head(Response(200, content_type=EVENTS), False, True)
        status, _, fields, body = read(head + b"data")
        assert (status, body, fields) == (200, b"data", {"Content-Type": EVENTS.decode(), "Connection": "close"})


@pytest.mark.parametrize("size", [1, 15, 16, 255, 65_536])
def test_the_size_of_a_chunk_is_hexadecimal(size: int) -> None:
    assert chunk(bytes(size)) == f"{size:x}\r\n".encode() + bytes(size) + b"\r\n"
