"""The keys of an issuer of tokens: a JSON Web Key Set (RFC 7517), of which only what may verify a signature is kept.

A key says by its type, and curve, for which algorithms it can be; a token never does. So a public key is never taken
for the secret of an HMAC, nor a key of one algorithm for another: symmetric keys are not even read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

MOST_KEYS: Final = 100
LEAST_RSA_BITS: Final = 2048
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA", "Ed448": "EdDSA"}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class SigningKey(NamedTuple):
    """A public key, and the algorithms that a token signed with it may name."""

    kid: str
    algorithms: frozenset[str]
    key: Any


class KeySet:
    """The keys of one document, by their name."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self.keys = tuple(keys)
        self.kids = frozenset(key.kid for key in self.keys)

    def find(self, kid: str, algorithm: str) -> SigningKey | None:
        """The key that a token names, if it may be used with the algorithm that the token names. A token that names no
        key fits where only one key can be meant."""
        fitting = [key for key in self.keys if algorithm in key.algorithms and (not kid or key.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None


def read_keys(document: bytes, allowed: Iterable[str]) -> KeySet:
    """The keys in a document that may be used with any of the `allowed` algorithms; others are left out. Raises
    ValueError for what is no key set, or one without any such key."""
    try:
        described = msgspec.json.decode(document, type=dict[str, Any]).get("keys")
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"no JSON Web Key Set: {error}") from error
    if not isinstance(described, list) or len(described) > MOST_KEYS:
        raise ValueError(f"no JSON Web Key Set: expected a list of at most {MOST_KEYS} `keys`")
    found = [_read_key(each, frozenset(allowed)) for each in described if isinstance(each, dict)]
    keys = [key for key in found if key is not None]
    if not keys:
        raise ValueError(f"none of {len(described)} keys may verify any of {', '.join(sorted(allowed))}")
    return KeySet(keys)


def _read_key(described: Mapping[str, Any], allowed: frozenset[str]) -> SigningKey | None:
    """None for what is no public key for these algorithms."""
    algorithms = _algorithms(described) & allowed
    if not algorithms or not _may_verify(described):
        return None
    try:
        key = _public(described)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if getattr(key, "key_size", LEAST_RSA_BITS) < LEAST_RSA_BITS and described["kty"] == "RSA":
        return None
    kid = described.get("kid", "")
    return SigningKey(kid if isinstance(kid, str) else "", algorithms, key)


def _algorithms(described: Mapping[str, Any]) -> frozenset[str]:
    kty, curve, named = described.get("kty"), described.get("crv"), described.get("alg")
    possible: frozenset[str] = frozenset()
    if kty == "RSA":
        possible = _RSA
    elif kty in ("EC", "OKP") and isinstance(curve, str) and curve in _CURVES:
        possible = frozenset({_CURVES[curve]})
    return possible if named is None else possible & {named if isinstance(named, str) else ""}


def _may_verify(described: Mapping[str, Any]) -> bool:
    """It is meant for signatures (RFC 7517 §4.2, §4.3), and it is public."""
    operations = described.get("key_ops")
    meant = described.get("use") in (None, "sig") and (operations is None or "verify" in operations)
    return meant and not _PRIVATE & described.keys()


def _public(described: Mapping[str, Any]) -> Any:
    public = dict(described)
    if described["kty"] == "RSA":
        return RSAAlgorithm.from_jwk(public)
    return ECAlgorithm.from_jwk(public) if described["kty"] == "EC" else OKPAlgorithm.from_jwk(public)
