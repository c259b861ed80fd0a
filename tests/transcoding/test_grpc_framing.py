"""gRPC messages, compression, timeouts and status."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding import grpc_framing as framing
from transcoding.grpc_framing import MessageReader, deflate, encode_message, frame, inflate
from transcoding.http2.hpack import Decoder, request_block
from transcoding.message import Buffer
from transcoding.status import Code, Fault, GatewayError


def plain(messages: list[tuple[int, Buffer]]) -> list[tuple[int, bytes]]:
    return [(flags, bytes(message)) for flags, message in messages]


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=6),
    st.lists(st.integers(0, 400), max_size=20),
    st.booleans(),
)
def test_messages_come_out_however_they_are_cut(
    messages: list[tuple[bool, bytes]], cuts: list[int], views: bool
) -> None:
    data = b"".join(encode_message([body], compressed) for compressed, body in messages)
    reader, got, at = MessageReader(300), [], 0
    for size in [*cuts, len(data)]:
        piece = data[at : at + size]
        got += reader.feed(memoryview(piece) if views else piece)
        at += size
    assert plain(got) == [(int(compressed), body) for compressed, body in messages]
    reader.finish()


def test_one_whole_message_is_not_copied() -> None:
    data = encode_message([bytes(100)])
    ((_, message),) = MessageReader(100).feed(memoryview(data))
    assert isinstance(message, memoryview)
    assert message.obj is data


@pytest.mark.parametrize("cut", [1, 5, 6, 100])
def test_the_end_inside_a_message(cut: int) -> None:
    reader = MessageReader(1000)
    assert reader.feed(encode_message([bytes(200)])[:cut]) == []
    with pytest.raises(GatewayError) as caught:
        reader.finish()
    assert (caught.value.code, caught.value.http_status) == (Code.INTERNAL, 400)


@pytest.mark.parametrize("pieces", [[b"\0\0\0\x01\x01"], [b"\0\0\0\x01\x01x"], [b"\0\0", b"\0\x01", b"\x01"]])
def test_a_length_above_the_limit_is_refused_at_once(pieces: list[bytes]) -> None:
    reader = MessageReader(256)
    for piece in pieces[:-1]:
        assert reader.feed(piece) == []
    with pytest.raises(GatewayError, match="257 bytes is larger than the limit of 256 bytes") as caught:
        reader.feed(pieces[-1])
    assert (caught.value.code, caught.value.http_status) == (Code.RESOURCE_EXHAUSTED, 413)


def test_a_whole_message_above_the_limit_is_refused_too() -> None:
    with pytest.raises(GatewayError):
        MessageReader(10).feed(encode_message([bytes(11)]))


def test_unknown_flags() -> None:
    for piece in (b"\x02\0\0\0\0", b"\x02\0\0\0\x01x"):
        with pytest.raises(GatewayError, match="flags 0x02") as caught:
            MessageReader(10, Fault.WORKER).feed(piece)
        assert (caught.value.fault, caught.value.http_status) == (Fault.WORKER, 502)


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_any_bytes_are_messages_or_an_error(pieces: list[bytes]) -> None:
    reader = MessageReader(100)
    try:
        for piece in pieces:
            for flags, message in reader.feed(piece):
                assert flags in (0, 1)
                assert len(message) <= 100
            assert len(reader._held) <= 105
        reader.finish()
    except GatewayError:
        return
    assert not reader._held


def test_prefix_and_pieces() -> None:
    assert frame(b"abc", compressed=True) == b"\x01\0\0\0\x03"
    assert encode_message([b"ab", memoryview(b"c"), b""]) == b"\0\0\0\0\x03abc"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_inflate_undoes_deflate_up_to_the_limit(encoding: str, size: int) -> None:
    body = bytes(size)
    packed = body if encoding == "identity" else deflate(body, encoding)
    assert bytes(inflate(memoryview(packed), encoding, size)) == body


def test_the_formats_are_those_of_the_rfcs() -> None:
    assert gzip.decompress(deflate(b"abc", "gzip")) == b"abc"
    assert zlib.decompress(deflate(b"abc", "deflate")) == b"abc"
    assert inflate(gzip.compress(b"ab") + gzip.compress(b"c"), "gzip", 3) == b"abc"


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    with pytest.raises(GatewayError) as caught:
        inflate(bomb, "deflate", 1000)
    assert (caught.value.code, caught.value.http_status) == (Code.RESOURCE_EXHAUSTED, 413)
    members = gzip.compress(b"x" * 100) * 11
    with pytest.raises(GatewayError, match="limit of 1000"):
        inflate(members, "gzip", 1000)


def test_a_message_of_many_gzip_members_is_refused() -> None:
    """Looking at each member would take time that grows with the square of their number."""
    assert inflate(gzip.compress(b"x") * 16, "gzip", 1000) == b"x" * 16
    with pytest.raises(GatewayError, match="more than 16 members"):
        inflate(gzip.compress(b"") * 100_000, "gzip", 1000)


@pytest.mark.parametrize(
    ("data", "encoding", "code"),
    [
        (b"", "gzip", Code.INVALID_ARGUMENT),
        (b"no", "deflate", Code.INVALID_ARGUMENT),
        (zlib.compress(b"abc")[:-1], "deflate", Code.INVALID_ARGUMENT),
        (zlib.compress(b"abc") + b"x", "deflate", Code.INVALID_ARGUMENT),
        (gzip.compress(b"abc", mtime=0) + b"x", "gzip", Code.INVALID_ARGUMENT),
        (b"abc", "br", Code.UNIMPLEMENTED),
    ],
)
def test_broken_compression(data: bytes, encoding: str, code: Code) -> None:
    with pytest.raises(GatewayError) as caught:
        inflate(data, encoding, 1000)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"99999999n", 0.099999999)],
)
def test_timeouts(value: bytes, seconds: float) -> None:
    assert framing.parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"1", b"S", b"1s", b"-1S", b"123456789S", b"1 S", b"1S\n", "１S".encode()])
def test_bad_timeouts(value: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        framing.parse_timeout(value)
    assert caught.value.code == Code.INVALID_ARGUMENT


@given(st.floats(0, 1e11))
def test_a_timeout_is_never_shortened_and_hardly_lengthened(seconds: float) -> None:
    again = framing.parse_timeout(framing.format_timeout(seconds))
    assert seconds * (1 - 1e-9) <= again <= seconds * (1 + 1e-5) + 2e-9


def test_timeouts_out_of_range() -> None:
    assert framing.format_timeout(-1) == b"0n"
    assert framing.format_timeout(1e30) == b"99999999H"


@given(st.text())
def test_messages_survive_escaping(text: str) -> None:
    encoded = framing.encode_grpc_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert framing.decode_grpc_message(encoded) == text


def test_escapes() -> None:
    assert framing.encode_grpc_message("50% ä\r\n") == b"50%25 %C3%A4%0D%0A"
    assert framing.decode_grpc_message(b"%zz %C3%A4 %c3 %") == "%zz ä \ufffd %"


def decoded(block: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return Decoder(request_block, 10_000, 100).decode(block).fields


def test_trailers() -> None:
    assert decoded(framing.trailers_block(0)) == ((b"grpc-status", b"0"),)
    block = framing.trailers_block(Code.NOT_FOUND, "no 'ä'", [(b"x-a", b"b")])
    assert decoded(block) == ((b"grpc-status", b"5"), (b"grpc-message", b"no '%C3%A4'"), (b"x-a", b"b"))
    assert framing.parse_status(decoded(block)) == (5, "no 'ä'")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"x", b"y")], None),
        ([(b"grpc-message", b"m")], None),
        ([(b"grpc-status", b"13")], (13, "")),
        ([(b"grpc-status", b"")], (2, "")),
        ([(b"grpc-status", b"-1")], (2, "")),
        ([(b"grpc-status", b"9" * 5000)], (2, "")),
    ],
)
def test_status(fields: list[tuple[bytes, bytes]], status: tuple[int, str] | None) -> None:
    assert framing.parse_status(fields) == status


def test_blanks_at_the_ends_of_a_message_are_escaped() -> None:
    assert framing.encode_grpc_message(" got [1,2]. ") == b"%20got [1,2].%20"
    assert framing.decode_grpc_message(b"%20got [1,2].%20") == " got [1,2]. "
