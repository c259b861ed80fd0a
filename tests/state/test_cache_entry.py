"""Entries come back as they were, and nothing else is taken for one."""

from __future__ import annotations

import os
import zlib

from hypothesis import given
from hypothesis import strategies as st

from state.cache_entry import MAGIC, SAMPLE, VERSION, Entry, inflate, pack, shrinks, unpack

KEY = b"k" * 32
LIMIT = 1_000_000
ENTRY = Entry(b"\0\0\0\0\x05hello", 1.7e9, 60.0, 5.0)


@given(st.binary(max_size=3000), st.floats(0, 1e12), st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 3000))
def test_there_and_back(framed: bytes, asked: float, fresh: float, stale: float, compress_from: int) -> None:
    entry = Entry(framed, asked, fresh, stale)
    assert unpack(pack(entry, KEY, compress_from), KEY, LIMIT) == entry


def test_what_shrinks_is_compressed_and_noise_is_not() -> None:
    plain, noise = ENTRY._replace(framed=b"abcd" * 10_000), ENTRY._replace(framed=os.urandom(40_000))
    small, large = pack(plain, KEY, 4096), pack(noise, KEY, 4096)
    assert len(small) < 1000
    assert len(large) < 40_100
    assert unpack(small, KEY, LIMIT) == plain
    assert unpack(large, KEY, LIMIT) == noise
    assert len(pack(plain, KEY, 50_000)) > 40_000
    assert not shrinks(os.urandom(3 * SAMPLE))
    assert shrinks(b"a" * 3 * SAMPLE)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_makes_it_none(at: int, change: int) -> None:
    packed = bytearray(pack(ENTRY, KEY, 4096))
    packed[at % len(packed)] ^= change
    assert unpack(bytes(packed), KEY, LIMIT) is None


@given(st.integers(0, 200))
def test_what_is_cut_off_is_none(length: int) -> None:
    packed = pack(ENTRY._replace(framed=b"x" * 5000), KEY, 100)
    assert unpack(packed[: min(length, len(packed) - 1)], KEY, LIMIT) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_none(data: bytes) -> None:
    assert unpack(data, KEY, LIMIT) is None
    assert unpack(MAGIC + bytes((VERSION,)) + data, KEY, LIMIT) is None


def test_another_key_another_version_and_too_much() -> None:
    packed = pack(ENTRY, KEY, 4096)
    assert unpack(packed, b"x" * 32, LIMIT) is None
    assert unpack(packed.replace(MAGIC + bytes((VERSION,)), MAGIC + bytes((VERSION + 1,))), KEY, LIMIT) is None
    assert unpack(packed, KEY, len(ENTRY.framed) - 1) is None


def test_a_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(b"\0" * 10_000_000)
    assert inflate(memoryview(bomb), 1000) is None
    assert inflate(memoryview(bomb[:-10]), 10_000_000) is None
    assert inflate(memoryview(b"no zlib"), 7) is None
