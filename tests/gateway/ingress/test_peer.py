"""What a connection says of its other end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gateway.ingress.peer import peer_of


class Transport:
    def __init__(self, **extra: object) -> None:
        self._extra = extra

    def get_extra_info(self, name: str) -> object:
        return self._extra.get(name)


def tls(said: dict[str, Any] | None, der: bytes | None = b"der") -> Any:
    return SimpleNamespace(getpeercert=lambda binary=False: der if binary else said)


def peer(verified: bool, **extra: object) -> Any:
    return peer_of(Transport(peername=("192.0.2.1", 4711), **extra), verified)  # type: ignore[arg-type]


def test_an_address_alone() -> None:
    assert (peer(False).address, peer(False).certificate) == ("192.0.2.1", None)
    assert peer_of(Transport(peername="/socket"), False).address == ""  # type: ignore[arg-type]


def test_a_certificate_that_was_verified() -> None:
    said = {
        "subject": ((("organizationName", "example"),), (("commonName", "ann"),)),
        "subjectAltName": (("DNS", "ann.example"), ("URI", "spiffe://example/ann"), ("email", "ann@example")),
    }
    found = peer(True, ssl_object=tls(said)).certificate
    assert (found.subject, found.uris, found.names) == ("ann", ("spiffe://example/ann",), ("ann.example",))
    assert len(found.fingerprint) == 64


def test_one_that_was_not_says_nothing() -> None:
    said = {"subject": ((("commonName", "ann"),),)}
    assert peer(False, ssl_object=tls(said)).certificate is None
    assert peer(True, ssl_object=tls({})).certificate is None
    assert peer(True, ssl_object=tls(None, None)).certificate is None
    assert peer(True).certificate is None
