"""Which headers a configuration may name, and for what: to pass on to an endpoint, or to look at."""

from __future__ import annotations

import re

from config.problems import quote

_METADATA = re.compile("[0-9a-z_.-]{1,256}[*]?|[*]")  # gRPC's names, PROTOCOL-HTTP2.md; `*` ends a prefix
_TOKEN = re.compile("[!#$%&'*+.^_`|~0-9a-z-]{1,256}")  # RFC 9110 §5.6.2, in lower case

# Of one connection (RFC 9110 §7.6.1), or told in other words by HTTP/1.1 and HTTP/2.
_OF_A_CONNECTION = frozenset({
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_OF_AN_ANSWER = _OF_A_CONNECTION | {
    "content-encoding", "content-type", "inference-header-content-length", "proxy-authenticate",
}  # fmt: skip
_VALUE = re.compile("(?:[!-~](?:[ !-~]{0,4094}[!-~])?)?")
_SECRETS = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})

# Beside these: written by the gateway itself for the upstream request, or what only a gateway may claim.
# `transcoding.metadata` forwards none of them, whatever a file says.
_OWN_HEADERS = _OF_A_CONNECTION | _SECRETS | {
    "accept-encoding", "content-encoding", "content-type", "forwarded", "inference-header-content-length",
    "proxy-authenticate", "user-agent", "x-real-ip",
}  # fmt: skip
# A Triton 2.51 dies of an error in a stream with the first; the second opens protocols that an operator restricted.
_REFUSED_HEADERS = ("triton_grpc_error", "triton-grpc-protocol-", "grpc-", "x-forwarded-")

HEADER_KEY = "header:"
"""What a hash key of a header begins with."""
_HASH_KEYS = ("principal", "sequence", "body")


def forwarded_header(text: str) -> str:
    """The name of a header to pass on, in lower case; `x-tenant-*` is all that begin so. Raises ValueError."""
    name = text.lower()
    if not _METADATA.fullmatch(name):
        raise ValueError(f"expected a header name such as x-request-id, got {quote(text)}")
    if name.removesuffix("*") in _OWN_HEADERS or name.startswith(_REFUSED_HEADERS):
        raise ValueError(f"expected a header that may be forwarded, got {quote(text)}, which the gateway keeps")
    return name


def matched_header(text: str) -> str:
    """The name of a header that may be looked at, in lower case: no secret, since a configuration is no place for one,
    and none of a single connection. Raises ValueError."""
    name = text.lower()
    if not _TOKEN.fullmatch(name) or name.endswith("*"):
        raise ValueError(f"expected a header name such as x-model-version, got {quote(text)}")
    if name in _SECRETS:
        raise ValueError(f"expected a header without secrets, got {quote(text)}; clients are told apart by `principal`")
    if name in _OF_A_CONNECTION:
        raise ValueError(f"expected a header of the request, got {quote(text)}, which is of its connection")
    return name


def sent_header(text: str) -> str:
    """The name of one header to send to an endpoint, in lower case. Raises ValueError."""
    name = forwarded_header(text)
    if name.endswith("*"):
        raise ValueError(f"expected the name of one header, got {quote(text)}")
    return name


def answered_header(text: str) -> str:
    """The name of a header to add to answers, in lower case: none that says how the answer is framed, of its
    connection, or gRPC's own. Raises ValueError."""
    name = text.lower()
    if not _TOKEN.fullmatch(name) or name.endswith("*"):
        raise ValueError(f"expected a header name such as x-served-by, got {quote(text)}")
    if name in _OF_AN_ANSWER or name.startswith("grpc-"):
        raise ValueError(f"expected a header that may be set, got {quote(text)}, which the gateway keeps")
    return name


def header_value(text: str) -> str:
    """A value of a header: visible ASCII, with spaces inside (RFC 9110 §5.5). Raises ValueError."""
    if not _VALUE.fullmatch(text):
        raise ValueError(f"expected visible ASCII, and spaces inside, got {quote(text)}")
    return text


def hash_key(text: str) -> str:
    """`principal`, `sequence`, `body`, or `header:` with the name of a header. Raises ValueError."""
    if text.startswith(HEADER_KEY):
        return HEADER_KEY + matched_header(text.removeprefix(HEADER_KEY))
    if text not in _HASH_KEYS:
        raise ValueError(f"expected header:NAME, principal, sequence or body, got {quote(text)}")
    return text
