"""Tells who calls by the client certificate of its TLS connection.

The listener asks for certificates and verifies them against the authorities of its `tls.client_ca`; this policy reads
from a verified one who its holder is. `from` says what names a principal: the first URI or DNS name among the subject
alternative names (`san_uri`, such as a SPIFFE id; `san_dns`), the common name of the subject (`subject_cn`), or the
SHA-256 of the whole certificate in hexadecimal (`fingerprint`).

`callers` maps principals to a tenant and scopes: the first whose pattern fits. With `callers` a principal that none of
them fits is refused; without, every verified certificate that has the name is taken. A header with a certificate
(`X-Forwarded-Client-Cert` and the like) is never looked at. Where there is no certificate the next policy of identity
has its turn; the last one refuses.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from config.fields import items, one_or_several, text
from config.match import compile_patterns
from config.node import Node
from policies import Services
from routing.authentication import REALM, Authenticator, Challenge
from routing.call import Call
from routing.identity import Certificate, Identity
from transcoding.status import GatewayError

REMEMBERED = 16_384

From = Literal["subject_cn", "san_uri", "san_dns", "fingerprint"]


class Caller(Node, frozen=True):
    """Holders of certificates, and what they are."""

    principal: Annotated[
        tuple[Annotated[str, text("A principal or a glob", "pattern")], ...], one_or_several("Names or globs")
    ]
    tenant: Annotated[str, text("Whom they belong to; nobody if not given")] = ""
    scopes: Annotated[tuple[Annotated[str, text("A right")], ...], items("The rights that they have")] = ()


class Spec(Node, frozen=True):
    """What a certificate says of its holder."""

    from_: Annotated[From, Meta(description="What names a principal")] = msgspec.field(default="san_uri", name="from")
    callers: Annotated[tuple[Caller, ...], items("Who they are; anybody with a certificate if not given")] = ()
    realm: Annotated[str, text("What a refusal calls this place")] = REALM


class Policy(Authenticator):
    """Introduces the holder of a connection's certificate."""

    def __init__(self, spec: Spec, services: Services) -> None:
        self._from = spec.from_
        self._callers = [
            (compile_patterns(each.principal), each.tenant, frozenset(each.scopes)) for each in spec.callers
        ]
        self._known: dict[str, Identity] = {}
        self._challenge = Challenge("mtls", services.counters, spec.realm, "ClientCertificate")

    async def identify(self, call: Call) -> Identity | None:
        """Who holds the certificate, None where there is none. Raises `GatewayError` UNAUTHENTICATED for one that names
        nobody known here."""
        certificate = None if call.view is None else call.view.certificate
        if certificate is None:
            return None
        known = self._known.get(certificate.fingerprint)
        return known if known is not None else self._learn(certificate)

    def _learn(self, certificate: Certificate) -> Identity:
        principal = principal_of(certificate, self._from)
        if not principal:
            raise self._challenge.invalid(f"the client certificate has no {self._from}")
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        identity = self._known[certificate.fingerprint] = self._identity(principal, certificate)
        return identity

    def _identity(self, principal: str, certificate: Certificate) -> Identity:
        key = certificate.fingerprint
        if not self._callers:
            return Identity(principal, kind="mtls", key=key)
        for patterns, tenant, scopes in self._callers:
            if patterns.matches(principal):
                return Identity(principal, tenant, scopes, "mtls", key)
        raise self._challenge.invalid("the client certificate is of nobody known here")

    def missing(self, call: Call) -> GatewayError:
        """No certificate was presented."""
        return self._challenge.missing("a client certificate is required")


def principal_of(certificate: Certificate, source: From) -> str:
    """What a certificate calls its holder, "" for nothing."""
    match source:
        case "subject_cn":
            return certificate.subject
        case "fingerprint":
            return certificate.fingerprint
        case "san_uri":
            return next(iter(certificate.uris), "")
        case "san_dns":
            return next(iter(certificate.names), "")
