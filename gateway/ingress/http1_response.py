"""HTTP/1.1 responses as bytes."""

from __future__ import annotations

from gateway.ingress.exchange import JSON, OCTETS, REASONS, Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

# The head up to the value of its content-length, for what is answered most.
_STARTS: dict[tuple[int, bytes], bytes] = {
    (status, kind): b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: " % (status, reason, kind)
    for status, reason in REASONS.items()
    for kind in (JSON, OCTETS)
}


def whole_head(response: Response, size: int, keep: bool, old: bool) -> bytes:
    """The head of a response whose body has `size` bytes. `old`: the request was HTTP/1.0, which wants to be told when
    the connection stays open."""
    head = (_STARTS.get((response.status, response.content_type)) or _start(response)) + b"%d\r\n" % size
    if response.fields or not keep or old:
        head += _fields(response, keep, old)
    return head + response.told.lines


def stream_head(response: Response, keep: bool, old: bool) -> bytes:
    """The head of a response in chunks, or for HTTP/1.0 one that ends with the connection."""
    coding = b"" if old else b"Transfer-Encoding: chunked\r\n"
    return _status(response) + coding + _fields(response, keep, old) + response.told.lines


def chunk(piece: bytes) -> bytes:
    """One chunk (RFC 9112 §7.1)."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _status(response: Response) -> bytes:
    kind = b"Content-Type: %b\r\n" % response.content_type if response.content_type else b""
    return b"HTTP/1.1 %d %b\r\n%b" % (response.status, REASONS.get(response.status, b""), kind)


def _start(response: Response) -> bytes:
    return _status(response) + b"Content-Length: "


def _fields(response: Response, keep: bool, old: bool) -> bytes:
    fields = b"".join([b"%b: %b\r\n" % field for field in response.fields])
    if not keep:
        return fields + b"Connection: close\r\n"
    return fields + b"Connection: keep-alive\r\n" if old else fields
