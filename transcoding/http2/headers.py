"""A decoded header block and the rules that make a message well-formed (RFC 9113 §8.1 to §8.3).

The verdict on a block is part of it, so that a block which repeats is judged once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

Pair = tuple[bytes, bytes]

# What a field means to the rules. Most fields are plain, which is 0, and the rules never look at those.
PLAIN, PSEUDO, LENGTH, MALFORMED = range(4)

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VISIBLE = re.compile(rb"[\x21-\x7e]+").fullmatch
# RFC 9110 §5.5 and RFC 9113 §8.2.1: no control characters but TAB, no blank at either end.
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\A[ \t]|[ \t]\Z").search
# grpc-message as Triton sends it: the blank at the end of its text is not percent-encoded.
_BAD_MESSAGE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_CONTENT_LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch
_STATUS = re.compile(rb"[1-9][0-9]{2}").fullmatch
_CONNECTION_SPECIFIC = frozenset((b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"proxy-connection"))
_RESPONSE_PSEUDO = frozenset((b":status",))
_REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))


# What the rules say about a block: `error`, `trailers_error`, `content_length` and `informational` of HeaderBlock.
Verdict = tuple[str | None, str | None, int, bool]


class HeaderBlock:
    """The fields of one header block, in order, and what the rules say about them.

    `memo` belongs to whoever consumes the block: equal blocks give the same object, so what was derived from one may
    be kept there. `too_large` says that the peer sent more than the limits allow and `fields` holds only the first.
    `error` tells why the block cannot begin a message, `trailers_error` why it cannot end one; None when it can.
    `content_length` is -1 when absent. `informational` marks a 1xx response.
    """

    __slots__ = ("content_length", "error", "fields", "informational", "memo", "too_large", "trailers_error")

    def __init__(self, fields: tuple[Pair, ...], verdict: Verdict, too_large: bool = False) -> None:
        self.fields = fields
        self.memo: object | None = None
        self.error, self.trailers_error, self.content_length, self.informational = verdict
        self.too_large = too_large

    def __repr__(self) -> str:
        return f"HeaderBlock({list(self.fields)!r})"


def kind_of(name: bytes, value: bytes) -> int:
    """PLAIN, PSEUDO, LENGTH or MALFORMED for one field, whatever block it stands in."""
    if name[:1] == b":":
        return MALFORMED if _BAD_VALUE(value) else PSEUDO
    bad = _BAD_MESSAGE if name == b"grpc-message" else _BAD_VALUE
    if not _TOKEN(name) or name in _CONNECTION_SPECIFIC or bad(value):
        return MALFORMED
    if name == b"te":
        return PLAIN if value.lower() == b"trailers" else MALFORMED
    if name == b"content-length":
        return LENGTH if _CONTENT_LENGTH(value) else MALFORMED
    return PLAIN


# The fields of a block that are not PLAIN: position in the block, kind, name and value. Few combinations of them occur,
# whatever else differs between blocks, so the verdicts on them are remembered.
Special = Sequence[tuple[int, int, Pair]]
Rules = Callable[[tuple[Pair, ...], Special, bool], HeaderBlock]


def request_block(fields: tuple[Pair, ...], special: Special, too_large: bool = False) -> HeaderBlock:
    """A block that a client sent."""
    return HeaderBlock(fields, _judge_request(tuple(special), too_large), too_large)


def response_block(fields: tuple[Pair, ...], special: Special, too_large: bool = False) -> HeaderBlock:
    """A block that a server sent."""
    return HeaderBlock(fields, _judge_response(tuple(special)), too_large)


@lru_cache(maxsize=1024)
def _judge_request(special: Special, too_large: bool) -> Verdict:
    pseudo: dict[bytes, bytes] = {}
    common, length = _common(special)
    error = common or _collect_pseudo(special, pseudo, _REQUEST_PSEUDO)
    # What was cut off may have held what seems to be missing.
    if error is None and not too_large:
        error = _request_error(pseudo)
    return error, common or ("pseudo-header field in trailers" if pseudo else None), length, False


@lru_cache(maxsize=1024)
def _judge_response(special: Special) -> Verdict:
    pseudo: dict[bytes, bytes] = {}
    common, length = _common(special)
    error = common or _collect_pseudo(special, pseudo, _RESPONSE_PSEUDO)
    status = pseudo.get(b":status", b"")
    if error is None and (not _STATUS(status) or status == b"101"):
        error = f"invalid or missing :status {status[:64]!r}"
    trailers = common or ("pseudo-header field in trailers" if pseudo else None)
    return error, trailers, length, status[:1] == b"1"


def _common(special: Special) -> tuple[str | None, int]:
    """What is wrong with a block wherever it stands, and its content-length."""
    length = -1
    for _, kind, (name, value) in special:
        if kind == MALFORMED:
            return f"malformed or forbidden field {name[:64]!r}", -1
        if kind == LENGTH:
            if length >= 0:
                return "more than one content-length", -1
            length = int(value)
    return None, length


def _collect_pseudo(special: Special, into: dict[bytes, bytes], allowed: frozenset[bytes]) -> str | None:
    for position, kind, (name, value) in special:
        if kind != PSEUDO:
            continue
        # All pseudo-header fields so far stood first exactly when this one stands at their count.
        misplaced = position != len(into)
        repeated = name in into
        into[name] = value
        if name not in allowed:
            return f"unknown pseudo-header field {name[:64]!r}"
        if repeated:
            return f"repeated pseudo-header field {name!r}"
        if misplaced:
            return "pseudo-header field after a regular one"
    return None


def _request_error(pseudo: dict[bytes, bytes]) -> str | None:
    """RFC 9113 §8.3.1 and, for CONNECT, §8.5."""
    method = pseudo.get(b":method", b"")
    if not _METHOD(method):
        return f"invalid or missing :method {method[:64]!r}"
    if method == b"CONNECT":
        if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
            return "CONNECT takes :authority and neither :scheme nor :path"
        return None
    if not _METHOD(pseudo.get(b":scheme", b"")):
        return "invalid or missing :scheme"
    path = pseudo.get(b":path", b"")
    if not _VISIBLE(path) or (path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS")):
        return "invalid or missing :path"
    return None
