"""Compressed bodies, honest and not."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.errors import error_from
from transcoding.compression import ENCODINGS, Inflater, choose_encoding, deflate, inflate
from transcoding.status import Code, GatewayError

encodings = pytest.mark.parametrize("encoding", ENCODINGS)


@encodings
def test_what_is_deflated_is_inflated(encoding: str) -> None:
    body = deflate([b"abc" * 1000, memoryview(b"def")], encoding)
    assert inflate(body, encoding, 3003) == b"abc" * 1000 + b"def"
    assert inflate(memoryview(body), encoding, 3003)[-3:] == b"def"


def test_the_formats_are_those_of_http() -> None:
    assert gzip.decompress(deflate([b"a"], "gzip")) == b"a"
    assert zlib.decompress(deflate([b"a"], "deflate")) == b"a"
    assert inflate(gzip.compress(b"a"), "gzip", 10) == b"a"
    assert inflate(b"a", "identity", 0) == b"a"


@encodings
@given(data=st.binary(max_size=500), step=st.integers(1, 50))
def test_any_pieces_give_the_same(encoding: str, data: bytes, step: int) -> None:
    inflater = Inflater(encoding, 500)
    body = deflate([data], encoding)
    pieces = [inflater.feed(body[start : start + step]) for start in range(0, len(body), step)]
    inflater.finish()
    assert b"".join(pieces) == data


@encodings
def test_a_body_beyond_the_limit_is_413_and_bounded(encoding: str) -> None:
    bomb = deflate([bytes(50_000_000)], encoding, level=9)
    tracemalloc.start()
    with pytest.raises(GatewayError, match="more than 1000000 bytes when inflated") as error:
        inflate(bomb, encoding, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.value.http_status == 413
    assert peak < 3_000_000


@encodings
@pytest.mark.parametrize("limit", [0, 5])
def test_the_limit_itself_is_allowed(encoding: str, limit: int) -> None:
    body = deflate([bytes(limit)], encoding)
    assert inflate(body, encoding, limit) == bytes(limit)
    with pytest.raises(GatewayError):
        inflate(deflate([bytes(limit + 1)], encoding), encoding, limit)


@encodings
@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "behind", "checksum"])
def test_damaged_bodies_are_400(encoding: str, damage: str) -> None:
    good = deflate([b"abc" * 100], encoding)
    body = {
        "cut": good[:-1],
        "empty": b"",
        "garbage": b"not compressed",
        "behind": good + b"x",
        "checksum": good[:-6] + b"\0\0\0\0\0\0",
    }[damage]
    with pytest.raises(GatewayError, match=r"^request body: ") as error:
        inflate(body, encoding, 1000)
    assert (error.value.code, error.value.http_status) == (Code.INVALID_ARGUMENT, 400)


@encodings
def test_data_behind_the_end_is_found_in_a_later_piece(encoding: str) -> None:
    inflater = Inflater(encoding, 10)
    assert inflater.feed(deflate([b"a"], encoding)) == b"a"
    with pytest.raises(GatewayError, match="behind the end"):
        inflater.feed(b"x")


def test_bare_deflate_data_are_refused() -> None:
    compress = zlib.compressobj(wbits=-15)
    with pytest.raises(GatewayError, match="not valid deflate data"):
        inflate(compress.compress(b"abc" * 9) + compress.flush(), "deflate", 100)


@pytest.mark.parametrize("encoding", ["br", "GZIP", "", "gzip, gzip", "x-gzip"])
def test_other_encodings_are_501_with_tritons_words(encoding: str) -> None:
    with pytest.raises(GatewayError, match=r"^Unsupported compression type$") as error:
        inflate(b"", encoding, 10)
    assert error.value.http_status == 501


@encodings
@given(data=st.binary(max_size=100))
def test_any_bytes_inflate_or_are_an_error(encoding: str, data: bytes) -> None:
    error = error_from(lambda: inflate(data, encoding, 1000))
    assert error is None or error.http_status in (400, 413)


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (b"gzip", "gzip"),
        (b"gzip, deflate", "gzip"),
        (b"deflate, gzip", "deflate"),
        (b"gzip;q=0.5,deflate", "deflate"),
        (b"identity,gzip", None),
        (b"gzip;q=0.5, identity;q=0.4", "gzip"),
        (b"*", None),
        (b"br", None),
        (b"br, gzip;q=0.1", "gzip"),
        (b"gzip;q=0", None),
        (b"gzip;q=0, deflate;q=0.001", "deflate"),
        (b"GZIP ; Q=1.0", "gzip"),
        (b"gzip;q=2", None),
        (b"gzip;q=x", None),
        (b"gzip;q=-1", None),
        (b"gzip;level=9", None),
        (b"gzip;q=.", None),
        (b"", None),
        (b",,;;,", None),
        (b"\xff", None),
    ],
)
def test_the_reply_is_compressed_as_triton_chooses(accept: bytes, encoding: str | None) -> None:
    assert choose_encoding(accept) == encoding


@given(st.binary(max_size=40))
def test_any_accept_encoding_has_an_answer(accept: bytes) -> None:
    assert choose_encoding(accept) in (None, "gzip", "deflate")
