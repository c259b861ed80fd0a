"""Compressed bodies: gzip and deflate, inflated under a cap.

`deflate` is the zlib format (RFC 1950), as HTTP says and Triton does; bare RFC 1951 data is an error. A body that is
not what its `Content-Encoding` says is an error too, where Triton 2.51 takes it for an empty one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from transcoding.message import Buffer
from transcoding.status import Code, GatewayError, invalid

_WINDOW = {"gzip": 31, "deflate": 15}
ENCODINGS = ("gzip", "deflate")
SLICE = 16 * 1024
"""Compressed bytes that are inflated at once: zlib makes its output in blocks and joins them, so that all at once would
take twice the limit before a bomb is noticed."""


class Inflater:
    """One compressed body, fed in pieces. No more than `limit` bytes ever come out of it, and no more than that is
    allocated, however many a small input stands for."""

    def __init__(self, encoding: str, limit: int) -> None:
        """Raises GatewayError (501, with Triton's text) for an encoding other than `ENCODINGS`."""
        if encoding not in _WINDOW:
            raise GatewayError(Code.UNIMPLEMENTED, "Unsupported compression type")
        self._encoding = encoding
        self._limit = limit
        self._left = limit
        self._inflate = zlib.decompressobj(_WINDOW[encoding])

    def feed(self, data: Buffer) -> bytes:
        """What this piece of the body inflates to. Raises GatewayError: 413 beyond the limit, 400 for bytes that are
        not of the encoding or that come after its end."""
        try:
            inflated = self._inflate.decompress(data, self._left + 1)
        except zlib.error:
            raise invalid(f"request body: not valid {self._encoding} data") from None
        if len(inflated) > self._left:
            raise GatewayError(
                Code.INVALID_ARGUMENT, f"request body: more than {self._limit} bytes when inflated", http_status=413
            )
        if self._inflate.unused_data:
            raise invalid(f"request body: data behind the end of the {self._encoding} stream")
        self._left -= len(inflated)
        return inflated

    def finish(self) -> None:
        """The body ended. Raises GatewayError (400) when the compressed data did not."""
        if not self._inflate.eof:
            raise invalid(f"request body: the {self._encoding} data is cut off")


def inflate(data: Buffer, encoding: str, limit: int) -> bytes:
    """A whole body at once; `identity` passes. Raises GatewayError as `Inflater` does."""
    if encoding == "identity":
        return bytes(data)
    inflater = Inflater(encoding, limit)
    view = memoryview(data)
    pieces = [inflater.feed(view[at : at + SLICE]) for at in range(0, len(view), SLICE)]
    inflater.finish()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def deflate(buffers: Iterable[Buffer], encoding: str, level: int = 1) -> bytes:
    """The buffers as one compressed body. Level 1 by default: it takes a third of the time of zlib's own 6."""
    compress = zlib.compressobj(level, wbits=_WINDOW[encoding])
    pieces = [compress.compress(each) for each in buffers]
    pieces.append(compress.flush())
    return b"".join(pieces)


def choose_encoding(accept_encoding: bytes) -> str | None:
    """The encoding of a reply for an `Accept-Encoding`, None for none.

    Triton's rule (`CompressionTypeUsed`): of gzip, deflate and identity the first with the highest q; `*` and
    everything else is ignored. q=0 refuses, as RFC 9110 says."""
    best, best_weight = "identity", 0.0
    for item in accept_encoding.split(b","):
        name, _, rest = item.partition(b";")
        encoding = name.strip().lower().decode("latin-1")
        if encoding in ("gzip", "deflate", "identity"):
            weight = _weight(rest)
            if weight > best_weight:
                best, best_weight = encoding, weight
    return None if best == "identity" else best


def _weight(parameter: bytes) -> float:
    """`q=` of an item: 1 when absent, 0 when it is not a number in [0, 1]."""
    name, _, value = parameter.partition(b"=")
    if not name.strip():
        return 1.0
    digits = value.strip()
    if name.strip().lower() != b"q" or not digits.replace(b".", b"", 1).isdigit():
        return 0.0
    weight = float(digits)
    return weight if weight <= 1 else 0.0
