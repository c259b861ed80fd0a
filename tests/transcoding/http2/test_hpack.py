"""HPACK; the `hpack` library is the reference in both directions."""

from __future__ import annotations

import hpack as reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.http2 import REQUEST
from transcoding.http2 import hpack
from transcoding.http2.errors import ErrorCode, ProtocolError
from transcoding.http2.headers import Pair
from transcoding.http2.hpack import NO_DYNAMIC_TABLE, Decoder, encode, request_block, response_block

NAMES = st.sampled_from(
    [b":method", b":path", b"content-type", b"x-request-id", b"accept-encoding", b"cookie", b"n" * 200]
)
VALUES = st.sampled_from([b"GET", b"/", b"gzip, deflate", b"", b"v" * 127, b"w" * 500]) | st.binary(max_size=40)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


def decoder(acknowledged: bool = True, size: int = 1 << 20, headers: int = 1000) -> Decoder:
    made = Decoder(request_block, size, headers)
    if acknowledged:
        made.acknowledged()
    return made


def failure(made: Decoder, block: bytes) -> ErrorCode:
    with pytest.raises(ProtocolError) as caught:
        made.decode(block)
    return caught.value.code


@given(FIELDS)
def test_what_we_encode_the_reference_decodes(fields: list[Pair]) -> None:
    peer = reference.Decoder(max_header_list_size=1 << 24)
    assert [(bytes(n), bytes(v)) for n, v in peer.decode(encode(fields), raw=True)] == fields
    assert not peer.header_table.dynamic_entries


@given(FIELDS, FIELDS)
def test_encoding_has_no_state(first: list[Pair], second: list[Pair]) -> None:
    assert encode(first) + encode(second) == encode(first + second)


def test_credentials_are_never_indexed() -> None:
    block = encode([(b"authorization", b"secret"), (b"cookie", b"a=b"), (b"accept", b"x")])
    fields = reference.Decoder().decode(block, raw=True)
    assert [field.indexable for field in fields] == [False, False, True]


@given(st.lists(FIELDS, max_size=5), st.booleans())
def test_what_the_reference_encodes_we_decode_with_its_dynamic_table(blocks: list[list[Pair]], huffman: bool) -> None:
    peer, ours = reference.Encoder(), decoder(acknowledged=False)
    for fields in blocks:
        assert list(ours.decode(peer.encode(fields, huffman=huffman)).fields) == fields
    peer.header_table_size = 0
    ours.acknowledged()
    for fields in blocks * 2:
        assert list(ours.decode(peer.encode(fields, huffman=huffman)).fields) == fields


def test_equal_blocks_give_one_object_once_the_table_is_empty() -> None:
    block = encode(REQUEST)
    early = decoder(acknowledged=False)
    assert early.decode(block) is not early.decode(block)
    assert decoder().decode(block) is decoder().decode(block)
    answers = Decoder(response_block, 1 << 20, 1000)
    answers.acknowledged()
    assert answers.decode(block) is not decoder().decode(block)


def test_blocks_are_shared_only_between_equal_limits() -> None:
    block = encode([*REQUEST, (b"x", b"y" * 100)])
    assert not decoder().decode(block).too_large
    assert decoder(size=200).decode(block).too_large


def test_a_dynamic_entry_is_never_taken_from_the_shared_memory() -> None:
    # The same bytes mean other fields on another connection while its table is in use.
    indexed = b"\x40\x01a\x01"
    one, two = decoder(acknowledged=False), decoder(acknowledged=False)
    one.decode(indexed + b"1")
    two.decode(indexed + b"2")
    assert one.decode(b"\xbe").fields == ((b"a", b"1"),)
    assert two.decode(b"\xbe").fields == ((b"a", b"2"),)
    assert one.decode(b"\x7e\x01x").fields == ((b"a", b"x"),)


def test_after_the_acknowledgement_nothing_dynamic_is_left() -> None:
    ours = decoder(acknowledged=False)
    ours.decode(b"\x40\x01a\x01b")
    ours.acknowledged()
    assert failure(ours, b"\xbe") == ErrorCode.COMPRESSION_ERROR
    assert ours.decode(b"\x40\x01a\x01b").fields == ((b"a", b"b"),)
    assert failure(ours, b"\xbe") == ErrorCode.COMPRESSION_ERROR


def test_the_first_block_may_announce_an_empty_table() -> None:
    for acknowledged in (True, False):
        assert decoder(acknowledged).decode(NO_DYNAMIC_TABLE + encode(REQUEST)).fields == tuple(REQUEST)


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # an empty dynamic table
        b"\xff\xff\xff\xff\x0f",  # a huge index
        b"\xff\xff\xff\xff\xff\xff\x7f",  # an endless integer
        b"\x00",
        b"\x00\x05ab",
        b"\x00\x01a\x05b",
        b"\x00\x01a",
        b"\x0f",
        b"\x7f",
        b"\x00\x01a\x81\xff",  # Huffman: eight bits of padding
        b"\x00\x01a\x84\xff\xff\xff\xff",  # Huffman: EOS
        b"\x82\x20",  # a size update after a field
        b"\x3f\xe2\x1f",  # 4097
    ],
)
def test_broken_blocks(block: bytes) -> None:
    for acknowledged in (True, False):
        assert failure(decoder(acknowledged), block) == ErrorCode.COMPRESSION_ERROR


def test_a_table_size_above_zero_is_an_error_after_the_acknowledgement() -> None:
    decoder(acknowledged=False).decode(b"\x3f\xe1\x1f\x82")
    assert failure(decoder(), b"\x3f\xe1\x1f\x82") == ErrorCode.COMPRESSION_ERROR


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_decode_or_fail_as_the_protocol_says(block: bytes, acknowledged: bool) -> None:
    try:
        expected = [tuple(field) for field in reference.Decoder().decode(block, raw=True)]
    except reference.HPACKError:
        assert failure(decoder(acknowledged), block) == ErrorCode.COMPRESSION_ERROR
        return
    try:
        got = list(decoder(acknowledged).decode(block).fields)
    except ProtocolError as error:
        # Only the empty table of the second case can make the difference.
        got, expected = [acknowledged, error.code], [True, ErrorCode.COMPRESSION_ERROR]
    assert got == expected


def test_too_large_by_size_keeps_the_first_fields_and_the_table() -> None:
    ours = decoder(acknowledged=False, size=200)
    block = ours.decode(encode(REQUEST) + b"\x40\x01a\x01b")
    assert block.too_large
    assert list(block.fields) == REQUEST[: len(block.fields)]
    assert block.fields
    assert ours.decode(b"\xbe").fields == ((b"a", b"b"),)


def test_too_many_fields() -> None:
    assert not decoder(headers=4).decode(encode(REQUEST)).too_large
    block = decoder(headers=3).decode(encode(REQUEST))
    assert (block.too_large, len(block.fields)) == (True, 3)


def test_an_indexed_bomb_stops_at_the_limit() -> None:
    # One large entry, then thousands of one-byte references to it (attack H4).
    ours = decoder(acknowledged=False, size=32 * 1024)
    block = ours.decode(b"\x40\x01a\x7f\x81\x1e" + b"b" * 4000 + b"\xbe" * 16_000)
    assert block.too_large
    assert sum(len(value) for _, value in block.fields) <= 32 * 1024


def test_a_block_beyond_all_bounds_ends_the_connection() -> None:
    assert failure(decoder(size=1024), b"\x00\x01a\x00" * 20_000) == ErrorCode.ENHANCE_YOUR_CALM


def test_what_is_remembered_is_bounded() -> None:
    ours = decoder()
    for index in range(20_000):
        ours.decode(encode([(b"x-request-id", b"%030d" % index)]))
    assert len(ours._blocks) <= 2048
    assert len(hpack._FIELDS) <= 8192
