"""HPACK (RFC 7541): a stateless encoder and a decoder that remembers whole blocks and single fields.

We announce a dynamic table of size 0, so a peer that repeats a request repeats its header block byte for byte, and the
decoded block is one dictionary look-up away. What is remembered is shared by all connections of the process with equal
limits and bounded by entries and bytes; it holds what clients sent, credentials included, like any request in memory.
Until the peer acknowledges the table size it may use the default table of 4096 bytes, which the `hpack` library holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from transcoding.http2.errors import ErrorCode, ProtocolError
from transcoding.http2.headers import MALFORMED, HeaderBlock, Pair, Rules, kind_of, request_block, response_block
from transcoding.http2.recall import Recall

__all__ = ["Decoder", "HeaderBlock", "encode", "request_block", "response_block"]

# A decoded field: name and value, its size as RFC 7541 §4.1 counts it, and its kind for the rules of `headers`.
Field = tuple[Pair, int, int]

_STATIC_SIZE = len(HeaderTable.STATIC_TABLE)
_OVERHEAD = 32
# The longest field that is remembered by itself, in encoded bytes.
_FIELD_BYTES = 512
_LEAST_BLOCK_BYTES = 64 * 1024
_NEVER_INDEXED = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))

_FIELDS: Recall[Field] = Recall(entries=4096, size=512 * 1024)
_BLOCKS: dict[tuple[Rules, int, int], Recall[HeaderBlock]] = {}


def _field(name: bytes, value: bytes) -> Field:
    return (name, value), len(name) + len(value) + _OVERHEAD, kind_of(name, value)


_INDEXED = list(enumerate(HeaderTable.STATIC_TABLE, 1))
_STATIC: dict[int, Field] = {index: _field(name, value) for index, (name, value) in _INDEXED}
_EXACT = {pair: bytes((0x80 | index,)) for index, pair in _INDEXED if pair[1]}
_NAMES = {name: index for index, (name, _) in reversed(_INDEXED)}

# The dynamic table size update to 0 (RFC 7541 §6.3). It opens the first block on each connection, because `encode`
# never uses a dynamic table and a strict decoder wants to hear of that once the peer lowers its limit.
NO_DYNAMIC_TABLE = b"\x20"


def encode(fields: Iterable[Pair]) -> bytes:
    """Encode fields without any state: `encode(a) + encode(b) == encode(a + b)`, on every connection.

    Static table entries where they match, literals without indexing otherwise, never indexed for credentials, and no
    Huffman coding: bytes on a data centre's wire cost less than the time to code them.
    """
    return b"".join([_EXACT.get(field) or _literal(*field) for field in fields])


def _literal(name: bytes, value: bytes) -> bytes:
    return _name(name) + _integer(len(value), 7, 0) + value


@lru_cache(maxsize=512)
def _name(name: bytes) -> bytes:
    first = 0x10 if name in _NEVER_INDEXED else 0
    index = _NAMES.get(name)
    if index is not None:
        return _integer(index, 4, first)
    return bytes((first,)) + _integer(len(name), 7, 0) + name


def _integer(value: int, prefix: int, first: int) -> bytes:
    """RFC 7541 §5.1: an integer whose first `prefix` bits share a byte with `first`."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes((first | value,))
    out = bytearray((first | limit,))
    value -= limit
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def _compression(reason: str) -> ProtocolError:
    return ProtocolError(ErrorCode.COMPRESSION_ERROR, reason)


def _continued(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """The rest of an integer whose prefix was full: its value and where the next byte is. Four more bytes at most."""
    value, shift = prefix, 0
    while True:
        byte = block[at]
        value += (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 21:
            raise _compression("integer too long")


def _string_end(block: bytes, at: int) -> tuple[int, int]:
    """Where the string whose length stands at `at` begins and ends."""
    length = block[at] & 0x7F
    at += 1
    if length == 0x7F:
        length, at = _continued(block, at, 0x7F)
    return at, at + length


def _string(block: bytes, at: int, begin: int, end: int) -> bytes:
    raw = block[begin:end]
    return decode_huffman(raw) if block[at] & 0x80 else raw


class Decoder:
    """The decoder of one connection. `rules` judge a block: `request_block` or `response_block`.

    `block_bytes` is the largest encoded block that is read at all, to tell the peer that its headers are too large;
    more than that ends the connection, since skipping a block would lose the state of the dynamic table.
    """

    __slots__ = ("_blocks", "_header_list_bytes", "_headers", "_rules", "_stateless", "_table", "block_bytes")

    def __init__(self, rules: Rules, header_list_bytes: int, headers: int) -> None:
        self._rules = rules
        self._header_list_bytes = header_list_bytes
        self._headers = headers
        self.block_bytes = max(2 * header_list_bytes, _LEAST_BLOCK_BYTES)
        self._table = HeaderTable()
        self._stateless = False
        key = (rules, header_list_bytes, headers)
        if key not in _BLOCKS:
            _BLOCKS[key] = Recall(entries=1024, size=512 * 1024)
        self._blocks = _BLOCKS[key]

    def acknowledged(self) -> None:
        """The peer acknowledged our settings: from here on its dynamic table is empty."""
        self._table.maxsize = 0
        self._stateless = True

    def decode(self, block: bytes) -> HeaderBlock:
        """Decode one whole header block; an equal block gives the same object once the peer's table is empty.

        A header list above the limits gives a block with `too_large` and the fields up to there.
        Raises ProtocolError: COMPRESSION_ERROR, or ENHANCE_YOUR_CALM for more than `block_bytes`.
        """
        known = self._blocks.young.get(block) if self._stateless else None
        return known if known is not None else self._decode(block)

    def _decode(self, block: bytes) -> HeaderBlock:
        if self._stateless:
            known = self._blocks.promote(block)
            if known is not None:
                return known
        if len(block) > self.block_bytes:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        try:
            decoded = self._scan(block)
        except IndexError:
            raise _compression("truncated header block") from None
        except HPACKDecodingError as error:
            raise _compression(str(error)) from None
        if self._stateless and not decoded.too_large:
            self._blocks.put(block, decoded, len(block))
        return decoded

    def _scan(self, block: bytes) -> HeaderBlock:
        pairs: list[Pair] = []
        special: list[tuple[int, int, Pair]] = []
        room, most, too_large = self._header_list_bytes, self._headers, False
        at, end, known = self._size_updates(block), len(block), _FIELDS.young
        while at < end:
            byte = block[at]
            if 0x80 < byte <= 0x80 + _STATIC_SIZE:
                (pair, size, kind), at = _STATIC[byte & 0x7F], at + 1
            elif byte >= 0x80:
                if too_large:  # an entry of the dynamic table costs one byte to repeat and more to look at
                    at = self._skip_indexed(block, at)
                    continue
                (pair, size, kind), at = self._indexed(block, at)
            else:
                # Where the field ends if both lengths are short. A guess is enough: only whole fields are known, and
                # no field's bytes are the beginning of another's.
                stop = at + 1 if byte & 0x0F else at + 2 + (block[at + 1] & 0x7F)
                stop += 1 + (block[stop] & 0x7F) if stop < end else 0
                field = known.get(block[at:stop])
                if field is None or byte & 0x40:
                    field, stop = self._literal(block, at, end)
                (pair, size, kind), at = field, stop
            room -= size
            if room < 0 or len(pairs) >= most:
                too_large = True
                # With an empty table the rest of the block changes nothing, and need not be read.
                if self._stateless:
                    break
                continue
            if kind:
                special.append((len(pairs), kind, pair))
            pairs.append(pair)
        return self._rules(tuple(pairs), special, too_large)

    def _size_updates(self, block: bytes) -> int:
        """Apply the dynamic table size updates that open the block; gives where its fields begin."""
        at = 0
        while at < len(block) and block[at] & 0xE0 == 0x20:
            size, at = block[at] & 0x1F, at + 1
            if size == 0x1F:
                size, at = _continued(block, at, 0x1F)
            if size > (0 if self._stateless else HeaderTable.DEFAULT_SIZE):
                raise _compression(f"dynamic table size {size} above the limit")
            self._table.maxsize = size
        return at

    def _indexed(self, block: bytes, at: int) -> tuple[Field, int]:
        index, at = block[at] & 0x7F, at + 1
        if index == 0x7F:
            index, at = _continued(block, at, 0x7F)
        return _field(*self._table.get_by_index(index)), at

    def _skip_indexed(self, block: bytes, at: int) -> int:
        index, at = block[at] & 0x7F, at + 1
        if index == 0x7F:
            index, at = _continued(block, at, 0x7F)
        self._table.get_by_index(index)
        return at

    def _literal(self, block: bytes, start: int, end: int) -> tuple[Field, int]:
        """One literal field: with incremental indexing (01), without (0000) or never indexed (0001)."""
        first = block[start]
        if first & 0x60 == 0x20:
            raise _compression("dynamic table size update after a field")
        mask = 0x3F if first & 0x40 else 0x0F
        index, name_at = first & mask, start + 1
        if index == mask:
            index, name_at = _continued(block, name_at, mask)
        value_at = name_at if index else _string_end(block, name_at)[1]
        value_begin, stop = _string_end(block, value_at)
        if stop > end:
            raise _compression("field longer than its block")
        piece = block[start:stop] if index <= _STATIC_SIZE and stop - start <= _FIELD_BYTES else b""
        field = _FIELDS.get(piece) if piece else None
        if field is None:
            if index:
                name, _ = self._table.get_by_index(index)
            else:
                name = _string(block, name_at, *_string_end(block, name_at))
            field = _field(name, _string(block, value_at, value_begin, stop))
            if piece and field[2] != MALFORMED:
                _FIELDS.put(piece, field, stop - start)
        if first & 0x40 and not self._stateless:
            self._table.add(*field[0])
        return field, stop
