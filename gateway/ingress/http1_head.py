"""The head of an HTTP/1.1 request: what RFC 9112 and this gateway ask of it before its body is read.

What the framing rules forbid or leave to interpretation (two lengths, a length with chunks, chunks in HTTP/1.0, several
hosts) is refused: another hop may have read it differently. llhttp refuses much of this itself; what it lets pass is
refused here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from config.schema import Limits
from gateway.ingress.exchange import TARGET_BYTES, Field, Request
from transcoding.status import invalid

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
SINGLE_FIELDS = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"inference-header-content-length",
        b"transfer-encoding",
    }
)
CHUNKED = -1
ALLOW, DROP, REJECT = "allow", "drop", "reject"
UNDERSCORE = "header names with an underscore are not taken here"

# RFC 9110 §4.2, RFC 3986 §3.2: a name or an address, and a port; an empty one names nothing.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(?::[0-9]{0,5})?").fullmatch


class Refusal(Exception):
    """A request that is answered with this status and after which nothing more is read."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.method = b""


class Message(Request):
    """A request on a connection. `length` is its content-length, None without a body, `CHUNKED` for chunks; `keep` says
    that another request may follow, `old` that it is HTTP/1.0, `size` how many bytes of body it holds."""

    __slots__ = ("keep", "length", "old", "size")

    def __init__(self, method: bytes, target: bytes, headers: dict[bytes, bytes], old: bool) -> None:
        super().__init__(method, target, headers, b"")
        self.old = old
        self.length: int | None = None
        self.keep = False
        self.size = 0

    @property
    def wants_continue(self) -> bool:
        """The client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1)."""
        return b"expect" in self.headers and bool(self.length) and not self.old


def check_head(method: bytes, version: str, target: bytes, headers: dict[bytes, bytes], limits: Limits) -> Message:
    """The message that this head begins. Raises `Refusal`."""
    if method not in METHODS:
        raise Refusal(405, "Method Not Allowed")
    if version != "1.1" and version != "1.0":
        raise Refusal(505, f"HTTP/{version} is not supported")
    message = Message(method, target, headers, version == "1.0")
    host = headers.get(b"host")
    if host is None:
        if not message.old:
            raise Refusal(400, "host: expected exactly one")
    elif not _HOST(host):
        raise Refusal(400, "host: expected a name or an address, and a port")
    if target[:1] != b"/" or b"#" in target:
        message.target = origin_form(target, host)
    if b"transfer-encoding" in headers:
        message.length = check_coding(headers, message.old)
    elif b"content-length" in headers:
        message.length = content_length(headers[b"content-length"], limits.body_bytes)
    if b"expect" in headers and headers[b"expect"].lower() != b"100-continue" and not message.old:
        raise Refusal(417, "expect: only 100-continue is understood")
    return message


def check_coding(headers: dict[bytes, bytes], old: bool) -> int:
    """`CHUNKED`, when that is the only transfer coding (RFC 9112 §6.1). Raises `Refusal`."""
    if b"content-length" in headers or old:
        raise Refusal(400, "transfer-encoding: not together with content-length, nor in HTTP/1.0")
    if headers[b"transfer-encoding"].lower() != b"chunked":
        raise Refusal(501, "transfer-encoding: expected chunked")
    return CHUNKED


def content_length(value: bytes, limit: int) -> int:
    """The number. Raises `Refusal`: 400 for what is none, or may be read as octal, and 413 above the limit."""
    if not value.isdigit() or (len(value) > 1 and value[0] == 0x30):
        raise Refusal(400, "content-length: expected a decimal number")
    if len(value) > 18 or int(value) > limit:
        raise too_large(limit)
    return int(value)


def origin_form(target: bytes, host: bytes | None) -> bytes:
    """The path of an absolute-form target, whose authority must be the host's (RFC 9112 §3.2.2). Raises `Refusal`."""
    if b"#" not in target:
        scheme, separator, rest = target.partition(b"://")
        if separator and scheme.lower() in (b"http", b"https"):
            authority, slash, path = rest.partition(b"/")
            if host is None or authority.lower() != host.lower():
                raise Refusal(421, "the request target names another host")
            return slash + path or b"/"
    raise Refusal(400, "request target: expected a path")


def join(headers: dict[bytes, bytes], name: bytes, value: bytes) -> bytes:
    """The value of a field that came before: both, joined (RFC 9110 §5.3). Raises `Refusal` where one is allowed."""
    if name in SINGLE_FIELDS:
        raise Refusal(400, f"{name.decode()}: expected at most one")
    return joined(headers[name], name, value)


def without_underscores(fields: Sequence[Field], underscores: str) -> Sequence[Field]:
    """The fields of a head that a listener takes which rejects, drops or allows underscores in their names. Raises
    `GatewayError` where it rejects the whole request."""
    if underscores == ALLOW or not any(b"_" in name for name, _ in fields):
        return fields
    if underscores == REJECT:
        raise invalid(UNDERSCORE)
    return [field for field in fields if b"_" not in field[0]]


def joined(value: bytes, name: bytes, more: bytes) -> bytes:
    """Two values of one field in one: cookies with a semicolon (RFC 9113 §8.2.3), the rest with a comma."""
    return value + (b"; " if name == b"cookie" else b", ") + more


def head_bytes(method: bytes, target: bytes, headers: dict[bytes, bytes]) -> int:
    """The size of a head as it came, but for white space: a request line and fields, each with its line end."""
    fields = sum(len(name) + len(value) + 4 for name, value in headers.items())
    return len(method) + len(target) + len(b"  HTTP/1.1\r\n\r\n") + fields


def plain_head(message: Message) -> bytes:
    """The head again without `Upgrade`, which may be ignored (RFC 9110 §7.8): a parser that sees it stops there."""
    line = b"%b %b HTTP/%b\r\n" % (message.method, message.target, b"1.0" if message.old else b"1.1")
    fields = [b"%b: %b\r\n" % field for field in message.headers.items() if field[0] != b"upgrade"]
    return line + b"".join(fields) + b"\r\n"


def target_too_long() -> Refusal:
    """The answer to a target above `TARGET_BYTES`."""
    return Refusal(414, f"request target longer than {TARGET_BYTES} bytes")


def head_too_large(limit: int) -> Refusal:
    """The answer to a head above the limit, in bytes."""
    return Refusal(431, f"request head larger than {limit} bytes")


def too_large(limit: int) -> Refusal:
    """The answer to a body above the limit, in bytes."""
    return Refusal(413, f"request body larger than {limit} bytes")
