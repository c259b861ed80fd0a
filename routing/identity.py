"""Who calls: what an authentication policy found out, for rules, splits, limits, caches and logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from routing.call import Call

NO_LIMITS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller. `principal` is unique within the configuration, "" for nobody known; `tenant` is whom it belongs to, ""
    for none; `scopes` are the rights it was given; `kind` says how it proved that ("api_key", "jwt", "mtls",
    "anonymous"); `key` is the public part of the credential, for audit; `limits` are rates of its own by the name of a
    rate_limit policy, such as {"per_user": "50/s"}."""

    principal: str = ""
    tenant: str = ""
    scopes: frozenset[str] = field(default_factory=frozenset)
    kind: str = ""
    key: str = ""
    limits: Mapping[str, str] = field(default_factory=lambda: NO_LIMITS)


NOBODY: Final = Identity()


class Certificate(NamedTuple):
    """What the verified certificate of a client says: the common name of its `subject`, "" for none; the `uris` and
    DNS `names` among its subject alternative names, in their order; and the SHA-256 of all of it in hexadecimal."""

    subject: str
    uris: tuple[str, ...]
    names: tuple[str, ...]
    fingerprint: str


def certificate_of(peer: Mapping[str, object], der: bytes) -> Certificate:
    """From what `ssl.SSLObject.getpeercert` gives, as a mapping and in DER."""
    relative = cast("tuple[tuple[tuple[str, str], ...], ...]", peer.get("subject", ()))
    subject = next((value for each in relative for name, value in each if name == "commonName"), "")
    alternatives = cast("tuple[tuple[str, str], ...]", peer.get("subjectAltName", ()))
    uris = tuple(value for kind, value in alternatives if kind == "URI")
    names = tuple(value for kind, value in alternatives if kind == "DNS")
    return Certificate(subject, uris, names, sha256(der).hexdigest())


def introduce(call: Call, identity: Identity) -> None:
    """From here on it is known who makes this call: to policies, and to the rules and splits that choose its target."""
    call.caller = identity
    call.principal = identity.principal
    if call.view is not None:
        call.view.principal = identity.principal
