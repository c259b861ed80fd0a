"""Header fields and gRPC metadata: what a connection keeps to itself and what goes on to the worker.

A field is (name, value) in bytes, in the order received. Only fields on an allow-list go upstream: a header that a
stranger wrote must never steer the worker or fail the call (gRPC refuses metadata with a letter out of place).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Field = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
DEFAULT_FORWARDED = ("traceparent", "tracestate", "baggage", "x-request-id")

# Beside the hop-by-hop fields: credentials for the gateway, what says how the bytes are framed, what the worker itself
# would obey (`triton_grpc_error` with an error in mid-stream ends Triton 2.51), and what only the gateway may claim.
_NEVER = HOP_BY_HOP | frozenset(
    (
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"accept-encoding",
        b"inference-header-content-length",
        b"user-agent",
        b"expect",
        b"forwarded",
        b"x-real-ip",
        b"triton_grpc_error",
    )
)
_NEVER_PREFIXES = (b":", b"grpc-", b"triton-grpc-protocol-", b"x-forwarded-")

_NAME = re.compile(rb"[0-9a-z_.-]+")  # Custom-Metadata names, https://github.com/grpc/grpc PROTOCOL-HTTP2.md
_VALUE = re.compile(rb"[\x20-\x7e]*")
_REMEMBERED = 1024  # spellings of header names


def strip_hop_by_hop(fields: Iterable[Field]) -> list[Field]:
    """The fields without those that belong to one connection (RFC 9110, 7.6.1), also those that `Connection` names."""
    received = list(fields)
    named = {
        token.strip().lower()
        for name, value in received
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    return [(name, value) for name, value in received if (key := name.lower()) not in HOP_BY_HOP and key not in named]


def may_be_forwarded(name: bytes) -> bool:
    """Whether a lower-case name may go upstream at all, whatever the configuration says."""
    return name not in _NEVER and not name.startswith(_NEVER_PREFIXES) and _NAME.fullmatch(name) is not None


class Forwarding:
    """Chooses the metadata of the upstream call from a request's fields.

    `allow` are names, or prefixes that end in `*` (`x-tenant-*`), beside those in `default`. Names become lower case,
    since gRPC knows no other. `-bin` values pass as they are, in base64."""

    def __init__(self, allow: Iterable[str] = (), default: Iterable[str] = DEFAULT_FORWARDED) -> None:
        """Raises ValueError for a name that may never be forwarded."""
        names = [name.lower().encode() for name in (*default, *allow)]
        for name in names:
            if not may_be_forwarded(name.removesuffix(b"*") if name != b"*" else b"x"):
                raise ValueError(f"header '{name.decode()}' may not be forwarded to a worker")
        self._names = frozenset(name for name in names if not name.endswith(b"*"))
        self._prefixes = tuple(name[:-1] for name in names if name.endswith(b"*"))
        self._decided: dict[bytes, bytes | None] = {}

    def choose(self, fields: Iterable[Field]) -> list[Field]:
        """The fields to send upstream, in order. Those with characters that gRPC refuses are left out."""
        decided = self._decided
        chosen = []
        for name, value in fields:
            key = decided[name] if name in decided else self._decide(name)
            if key is not None and _VALUE.fullmatch(value):
                chosen.append((key, value))
        return chosen

    def _decide(self, name: bytes) -> bytes | None:
        """The name to forward, or None; remembered for the spelling received."""
        key = name.lower()
        listed = key in self._names or key.startswith(self._prefixes)
        decision = key if listed and may_be_forwarded(key) else None
        if len(self._decided) < _REMEMBERED and len(name) <= 64:
            self._decided[name] = decision
        return decision
