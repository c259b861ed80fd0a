"""gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): messages, timeouts, status.

A message on the wire is a flag byte (1: compressed), a 4-byte big-endian length, and its bytes.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

from transcoding.http2.headers import Pair
from transcoding.http2.hpack import encode
from transcoding.message import Buffer
from transcoding.status import Code, Fault, GatewayError

_PREFIX = struct.Struct(">BI")
_PREFIX_SIZE = _PREFIX.size
COMPRESSED = 1


class MessageReader:
    """Cuts DATA into messages. `limit` bounds one message in bytes, as it stands on the wire.

    `fault` says whose mistake broken framing is: the client's on a request, the worker's on a reply.
    """

    __slots__ = ("_fault", "_held", "_limit", "_needed")

    def __init__(self, limit: int, fault: Fault = Fault.CLIENT) -> None:
        self._limit = limit
        self._fault = fault
        # The beginning of a message. Copied rather than kept as views, which would pin whole socket reads.
        self._held = bytearray()
        self._needed = 0  # the size of that message, prefix included; 0 while its prefix is incomplete

    def feed(self, data: Buffer) -> list[tuple[int, Buffer]]:
        """The messages that are complete now, each as flags and bytes.

        Raises GatewayError(RESOURCE_EXHAUSTED, HTTP 413) as soon as a length above the limit is announced, and
        INTERNAL for flags that gRPC does not define.
        """
        size = len(data)
        if not self._held and size >= _PREFIX_SIZE:
            flags, length = _PREFIX.unpack_from(data)
            if length + _PREFIX_SIZE == size and flags <= COMPRESSED and length <= self._limit:
                return [(flags, data[_PREFIX_SIZE:])]
        return self._cut(data, size)

    def finish(self) -> None:
        """The stream has ended. Raises GatewayError(INTERNAL) when that is inside a message."""
        if self._held:
            raise self._error("the stream ended inside a gRPC message")

    def _cut(self, data: Buffer, size: int) -> list[tuple[int, Buffer]]:
        messages: list[tuple[int, Buffer]] = []
        at = self._resume(data, messages) if self._held else 0
        while size - at >= _PREFIX_SIZE:
            flags, length = self._prefix(data, at)
            end = at + _PREFIX_SIZE + length
            if end > size:
                self._needed = _PREFIX_SIZE + length
                break
            messages.append((flags, data[at + _PREFIX_SIZE : end]))
            at = end
        if at < size:
            self._held += data[at:]
        return messages

    def _resume(self, data: Buffer, messages: list[tuple[int, Buffer]]) -> int:
        """Add to the message that is held as far as it goes; gives how much of `data` that took."""
        held, at = self._held, 0
        if not self._needed:
            at = _PREFIX_SIZE - len(held)
            held += data[:at]
            if len(held) < _PREFIX_SIZE:
                return at
            self._needed = _PREFIX_SIZE + self._prefix(held, 0)[1]
        missing = self._needed - len(held)
        held += data[at : at + missing]
        if len(held) == self._needed:
            messages.append((held[0], memoryview(held)[_PREFIX_SIZE:]))
            self._held, self._needed = bytearray(), 0
        return at + missing

    def _prefix(self, data: Buffer | bytearray, at: int) -> tuple[int, int]:
        flags, length = _PREFIX.unpack_from(data, at)
        if flags > COMPRESSED:
            raise self._error(f"unknown gRPC message flags {flags:#04x}")
        if length > self._limit:
            what = f"message of {length} bytes is larger than the limit of {self._limit} bytes"
            raise GatewayError(Code.RESOURCE_EXHAUSTED, what, http_status=413, fault=self._fault)
        return flags, length

    def _error(self, message: str) -> GatewayError:
        status = 400 if self._fault == Fault.CLIENT else 502
        return GatewayError(Code.INTERNAL, message, http_status=status, fault=self._fault)

    def __repr__(self) -> str:
        return f"MessageReader({len(self._held)} of {self._needed} bytes)"


def frame(message: Buffer, compressed: bool = False) -> bytes:
    """The five bytes that stand before a message."""
    return _PREFIX.pack(compressed, len(message))


def prefix(size: int) -> bytes:
    """The five bytes that stand before an uncompressed message of `size` bytes."""
    return _PREFIX.pack(0, size)


def encode_message(buffers: Sequence[Buffer], compressed: bool = False) -> bytes:
    """One message, given in pieces, with its prefix."""
    return b"".join((_PREFIX.pack(compressed, sum(map(len, buffers))), *buffers))


# Message compression. "deflate" is the zlib format (RFC 1950), as in HTTP.
_MEMBERS = 16
# Compressed bytes that are inflated at once: a bomb is noticed before its whole limit was made twice, in blocks and
# joined.
_SLICE = 16 * 1024
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def inflate(data: Buffer, encoding: str, limit: int) -> Buffer:
    """Decompress one message that may have up to `limit` bytes; no more than that is ever made.

    `encoding` is gzip (up to 16 members: each costs a copy of all that follow), deflate or identity. Raises
    GatewayError: UNIMPLEMENTED for another encoding, RESOURCE_EXHAUSTED (HTTP 413) beyond the limit, INVALID_ARGUMENT
    for broken or trailing data.
    """
    if encoding == "identity":
        return data
    if encoding not in _WINDOW_BITS:
        raise GatewayError(Code.UNIMPLEMENTED, f"grpc-encoding: {encoding!r} is not supported")
    members = _Members(encoding, limit)
    pieces = [members.inflate(data[at : at + _SLICE]) for at in range(0, len(data), _SLICE)]
    members.finish()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Members:
    """The gzip members, or the one zlib stream, of a message."""

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding = encoding
        self._limit = self._room = limit
        self._inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
        self._left = _MEMBERS - 1 if encoding == "gzip" else 0

    def inflate(self, data: Buffer) -> bytes:
        """What a part of the message inflates to."""
        out = self._decompress(data)
        while rest := self._inflater.unused_data:
            if not self._left:
                what = f"more than {_MEMBERS} members" if self._encoding == "gzip" else "data after its end"
                raise GatewayError(Code.INVALID_ARGUMENT, f"a {self._encoding} message with {what}")
            self._left -= 1
            self._inflater = zlib.decompressobj(_WINDOW_BITS[self._encoding])
            out += self._decompress(rest)
        return out

    def _decompress(self, data: Buffer) -> bytes:
        try:
            # max_length 0 would mean no limit, hence room for one byte more than allowed.
            out = self._inflater.decompress(data, self._room + 1)
        except zlib.error as error:
            raise GatewayError(Code.INVALID_ARGUMENT, f"broken {self._encoding} message: {error}") from None
        self._room -= len(out)
        if self._room < 0:
            what = f"message is larger than the limit of {self._limit} bytes when decompressed"
            raise GatewayError(Code.RESOURCE_EXHAUSTED, what, http_status=413)
        return out

    def finish(self) -> None:
        """The message ended, hopefully with the last member."""
        if not self._inflater.eof:
            raise GatewayError(Code.INVALID_ARGUMENT, f"truncated {self._encoding} message")


def deflate(data: Buffer, encoding: str, level: int = 1) -> bytes:
    """Compress one message with gzip or deflate. The default level is the fastest: latency counts more than bytes."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return deflater.compress(data) + deflater.flush()


_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_FORMATS = ((1e9, "n"), (1e6, "u"), (1e3, "m"), (1.0, "S"), (1 / 60, "M"), (1 / 3600, "H"))
_MOST = 99_999_999


def parse_timeout(value: bytes) -> float:
    """grpc-timeout in seconds. Raises GatewayError(INVALID_ARGUMENT)."""
    match = _TIMEOUT(value)
    if match is None:
        raise GatewayError(
            Code.INVALID_ARGUMENT, f"grpc-timeout: expected up to 8 digits and a unit, got {value[:32]!r}"
        )
    return int(match[1]) * _UNITS[match[2]]


def format_timeout(seconds: float) -> bytes:
    """grpc-timeout for so many seconds: the finest unit that fits in 8 digits, rounded up. Below zero gives 0."""
    for per_second, unit in _FORMATS:
        amount = math.ceil(max(seconds, 0.0) * per_second)
        if amount <= _MOST:
            return b"%d%s" % (amount, unit.encode())
    return b"%dH" % _MOST


# A blank at either end is escaped too: strict HTTP/2 peers refuse a field value that begins or ends with one.
_ESCAPED = re.compile(rb"[^\x20-\x24\x26-\x7e]|\A | \Z")
_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")


def encode_grpc_message(text: str) -> bytes:
    """Percent-encode for grpc-message: UTF-8, everything but printable ASCII and `%` itself escaped."""
    return _ESCAPED.sub(lambda match: b"%%%02X" % match[0][0], text.encode("utf-8", "replace"))


def decode_grpc_message(value: bytes) -> str:
    """Decode grpc-message. What is no valid escape stays as it is, as the protocol asks, and bad UTF-8 is replaced."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), value).decode("utf-8", "replace")


def trailers_block(code: int, message: str = "", metadata: Iterable[Pair] = ()) -> bytes:
    """The encoded trailers that end a call. For a trailers-only response append to `encode` of the headers."""
    block = _status_block(code)
    if message:
        block += encode(((b"grpc-message", encode_grpc_message(message)),))
    return block + encode(metadata) if metadata else block


@lru_cache(maxsize=64)
def _status_block(code: int) -> bytes:
    return encode(((b"grpc-status", b"%d" % code),))


def parse_status(fields: Iterable[Pair]) -> tuple[int, str] | None:
    """grpc-status and grpc-message of trailers; None without a grpc-status. A status that is no number is UNKNOWN."""
    code, message = None, ""
    for name, value in fields:
        if name == b"grpc-status":
            code = int(value) if value.isdigit() and len(value) < 10 else int(Code.UNKNOWN)
        elif name == b"grpc-message":
            message = decode_grpc_message(value)
    return None if code is None else (code, message)
