"""Header fragments of our own making, as `hpack.encode` writes them: read back, to leave a field out."""

from __future__ import annotations

from hpack.table import HeaderTable

from transcoding.http2.headers import Pair

_INDEXED, _NAME_BITS, _STRING_BITS = 0x80, 4, 7


def fields(fragment: bytes) -> list[tuple[Pair, bytes]]:
    """The fields with the bytes that stand for each. Raises `IndexError` or `ValueError` for what `hpack.encode` never
    writes."""
    found, at = [], 0
    while at < len(fragment):
        start = at
        if fragment[at] & _INDEXED:
            index, at = _integer(fragment, at, 7)
            pair = HeaderTable.STATIC_TABLE[index - 1]
        else:
            index, at = _integer(fragment, at, _NAME_BITS)
            if index:
                name = HeaderTable.STATIC_TABLE[index - 1][0]
            else:
                name, at = _string(fragment, at)
            value, at = _string(fragment, at)
            pair = (name, value)
        found.append((pair, fragment[start:at]))
    return found


def without(fragment: bytes, name: bytes) -> bytes:
    """The fragment without the fields of this name, which is in lower case."""
    return b"".join([written for (key, _), written in fields(fragment) if key != name])


def _string(fragment: bytes, at: int) -> tuple[bytes, int]:
    if fragment[at] & 0x80:
        raise ValueError("Huffman coding")
    size, at = _integer(fragment, at, _STRING_BITS)
    if at + size > len(fragment):
        raise ValueError("a string past the end")
    return fragment[at : at + size], at + size


def _integer(fragment: bytes, at: int, prefix: int) -> tuple[int, int]:
    """RFC 7541 §5.1."""
    limit = (1 << prefix) - 1
    value, shift = fragment[at] & limit, 0
    at += 1
    if value < limit:
        return value, at
    while True:
        byte = fragment[at]
        value += (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
