"""What `hpack.encode` writes is read back as it was, field by field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.http2.fragment import fields, without
from transcoding.http2.hpack import encode

NAMES = st.sampled_from([b"x-api-key", b"authorization", b"cookie", b":status", b"x-" + b"n" * 300])
PAIRS = st.lists(st.tuples(NAMES, st.sampled_from([b"", b"200", b"x-api-key", b"v" * 127, b"v" * 20_000])))


@given(PAIRS)
def test_fields_are_read_as_they_were_written(pairs: list[tuple[bytes, bytes]]) -> None:
    read = fields(encode(pairs))
    assert [pair for pair, _ in read] == pairs
    assert b"".join(written for _, written in read) == encode(pairs)


@given(PAIRS)
def test_a_name_is_left_out_and_the_rest_stays(pairs: list[tuple[bytes, bytes]]) -> None:
    assert without(encode(pairs), b"x-api-key") == encode([pair for pair in pairs if pair[0] != b"x-api-key"])


@pytest.mark.parametrize("fragment", [b"\x00", b"\x00\x05ab", b"\x00\x81\x61\x00", b"\x7f"])
def test_what_encode_never_writes_is_no_fragment(fragment: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        fields(fragment)
