"""Forms of text and numbers that a type alone does not tell: an address, a duration, a glob.

A field of `config.schema` names its form; the form reads what the operator wrote. Every `read` raises ValueError with a
message that says what was expected and what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from config.addresses import check_admin, split_address
from config.match import tokens
from config.problems import quote
from config.units import DURATION, SIZE, format_duration, format_size, parse_duration, parse_size

_LONGEST_TEXT = 4095  # PATH_MAX of Linux, without its final NUL
_LONGEST_PATTERN = 255  # a model is a folder, and NAME_MAX is 255
_LATEST = 2**63 - 1  # Triton parses a version as int64

_METADATA = re.compile("[0-9a-z_.-]{1,256}[*]?|[*]")  # gRPC's names, PROTOCOL-HTTP2.md; `*` ends a prefix

# Hop by hop (RFC 9110 §7.6.1), written by the gateway itself for the upstream request, meant for the gateway alone
# (credentials), or what only a gateway may claim. `transcoding.metadata` forwards none of them, whatever a file says.
# fmt: off
_OWN_HEADERS = frozenset({
    "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie",
    "expect", "forwarded", "host", "inference-header-content-length", "keep-alive", "proxy-authenticate",
    "proxy-authorization", "proxy-connection", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade",
    "user-agent", "x-real-ip",
})
# fmt: on
# A Triton 2.51 dies of an error in a stream with the first; the second opens protocols that an operator restricted.
_REFUSED_HEADERS = ("triton_grpc_error", "triton-grpc-protocol-", "grpc-", "x-forwarded-")


class Form(NamedTuple):
    """`expected` completes "expected …"; `read` turns text into the value; `show` writes a value back. Any text may be
    meant where it is `free`, so a value that YAML takes for a number or a boolean is likely to be a slip."""

    expected: str
    read: Callable[[str], Any]
    show: Callable[[Any], str] = str
    free: bool = False


def _address(example: str) -> Form:
    def read(text: str) -> str:
        split_address(text, example)
        return text

    return Form(f"host:port, e.g. {example}", read)


def _plain(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_TEXT:
        raise ValueError(f"expected 1 to {_LONGEST_TEXT} printable characters, got {quote(text)}")
    return text


def _pattern(text: str) -> str:
    if len(text) > _LONGEST_PATTERN:
        raise ValueError(f"expected at most {_LONGEST_PATTERN} characters, got {len(text)}")
    tokens(_plain(text))
    return text


def _version(text: str) -> str:
    if not re.fullmatch("[1-9][0-9]{0,18}", text) or int(text) > _LATEST:
        raise ValueError(f"expected a model version: a whole number ≥ 1, got {quote(text)}")
    return text


def _header(text: str) -> str:
    name = text.lower()
    if not _METADATA.fullmatch(name):
        raise ValueError(f"expected a header name such as x-request-id, got {quote(text)}")
    if name.removesuffix("*") in _OWN_HEADERS or name.startswith(_REFUSED_HEADERS):
        raise ValueError(f"expected a header that may be forwarded, got {quote(text)}, which the gateway keeps")
    return name


FORMS: dict[str, Form] = {
    "duration": Form(DURATION, parse_duration, format_duration),
    "size": Form(SIZE, parse_size, format_size),
    "address": _address("0.0.0.0:8080"),
    "endpoint": _address("gpu-0:8001"),
    "admin": Form("host:port or unix:/path, e.g. 127.0.0.1:9901", check_admin),
    "version": Form("a model version such as 2", _version),
    "pattern": Form("a model name or a glob such as resnet*", _pattern, free=True),
    "header": Form("a header name such as x-request-id", _header),
    "path": Form("a path", _plain, free=True),
    "picker": Form("the name of a picker", _plain, free=True),
    "text": Form("text", _plain, free=True),
}
