"""An answer as it lies in the store: versioned, checked, bound to its key, compressed where that helps.

    b"PSC" version flags   5 bytes; the version changes with the form, and what has another one is no entry
    checksum              16 bytes, XXH3-128 of all that follows and of the key
    length                 8 bytes, of the answer when it is inflated
    asked, fresh, stale    8 bytes each, IEEE doubles: when the answer was asked for, in seconds since 1970; for how
                           many seconds it is fresh, and how many more it may be used while a new one is got
    the answer             zlib (RFC 1950) if flag 1 is set

Numbers are big-endian. The checksum guards against what breaks by itself; whoever may write to the store may put there
what he likes.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from xxhash import xxh3_128_digest

MAGIC = b"PSC"
VERSION = 1
COMPRESSED = 1
SAMPLE = 4096
WORTHWHILE = 0.9
"""Compressed to more than this share of it, an answer is kept as it is: floats of a network hardly shrink."""

_HEAD = struct.Struct(">3sBB16s")
_BODY = struct.Struct(">Qddd")


class Entry(NamedTuple):
    """An answer: a framed gRPC message. `asked` is in seconds since 1970, `fresh` and `stale` are in seconds."""

    framed: bytes
    asked: float
    fresh: float
    stale: float


def pack(entry: Entry, key: bytes, compress_from: int) -> bytes:
    """The bytes of an entry below `key`. Answers of `compress_from` bytes or more are compressed if they shrink; that
    takes 20 ms for each megabyte."""
    data, flags = entry.framed, 0
    if len(data) >= compress_from and shrinks(data):
        smaller = zlib.compress(data, 1)
        if len(smaller) <= WORTHWHILE * len(data):
            data, flags = smaller, COMPRESSED
    body = _BODY.pack(len(entry.framed), entry.asked, entry.fresh, entry.stale) + data
    return _HEAD.pack(MAGIC, VERSION, flags, _sum(body, key, flags)) + body


def unpack(packed: bytes, key: bytes, limit: int) -> Entry | None:
    """The entry, None if these bytes are none: cut off, changed, another key's, of another version, or with an answer
    of more than `limit` bytes."""
    if len(packed) < _HEAD.size + _BODY.size:
        return None
    magic, version, flags, checksum = _HEAD.unpack_from(packed)
    body = memoryview(packed)[_HEAD.size :]
    if magic != MAGIC or version != VERSION or checksum != _sum(body, key, flags):
        return None
    length, asked, fresh, stale = _BODY.unpack_from(body)
    if length > limit:
        return None
    data = inflate(body[_BODY.size :], length) if flags & COMPRESSED else bytes(body[_BODY.size :])
    return Entry(data, asked, fresh, stale) if data is not None and len(data) == length else None


def shrinks(data: bytes) -> bool:
    """Does a piece from its middle, of `SAMPLE` bytes, become smaller? The beginning may be names."""
    if len(data) <= 2 * SAMPLE:
        return True
    middle = len(data) // 2
    return len(zlib.compress(data[middle : middle + SAMPLE], 1)) <= WORTHWHILE * SAMPLE


def inflate(data: memoryview, length: int) -> bytes | None:
    """Exactly `length` bytes, None if it is another number or the data is no zlib stream."""
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data, length + 1)
    except zlib.error:
        return None
    return inflated if stream.eof and len(inflated) == length else None


def _sum(body: bytes | memoryview, key: bytes, flags: int) -> bytes:
    return xxh3_128_digest(b"".join((key, bytes((flags,)), body)))
