"""Which request headers travel on to the endpoints: an allow-list, as one HPACK fragment per request."""

from __future__ import annotations

from gateway.ingress.exchange import Request
from gateway.ingress.grpc_head import Head
from transcoding.http2 import hpack
from transcoding.metadata import Forwarding


class HeaderForwarding:
    """Fragments for the allow-lists of all listeners."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, ...], Forwarding] = {}

    def prepare(self, allow: tuple[str, ...]) -> None:
        """Learn an allow-list before the first request needs it. Raises ValueError for a name that may never be
        forwarded."""
        self._rule(allow)

    def _rule(self, allow: tuple[str, ...]) -> Forwarding:
        rule = self._rules.get(allow)
        if rule is None:
            rule = self._rules[allow] = Forwarding(allow)
        return rule

    def fragment(self, request: Request, allow: tuple[str, ...]) -> bytes:
        """The fragment for the headers of an HTTP request, b"" when none travels on. Kept with a head that repeats."""
        memo = request.memo
        fragment = memo.forwarded.get(allow) if memo is not None else None
        if fragment is None:
            fragment = _encode(self._rule(allow).choose(request.headers.items()))
            if memo is not None:
                memo.forwarded[allow] = fragment
        return fragment

    def of_head(self, head: Head, allow: tuple[str, ...]) -> bytes:
        """The fragment for the metadata of a gRPC call, kept with its head."""
        fragment = head.forwarded.get(allow)
        if fragment is None:
            fragment = head.forwarded[allow] = _encode(self._rule(allow).choose(head.fields))
        return fragment


def _encode(fields: list[tuple[bytes, bytes]]) -> bytes:
    return hpack.encode(fields) if fields else b""
