"""An issuer of tokens for tests: keys of all kinds, tokens signed with them, and tokens as attackers write them."""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://login.example", "penstock"
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


def private_key(algorithm: str, number: int = 0, bits: int = 2048) -> Any:
    """A key for this algorithm, the same again for the same number; those of RSA are for all of RSA's."""
    return _private_key(algorithm if algorithm == "EdDSA" or algorithm in CURVES else "RSA", number, bits)


@cache
def _private_key(kind: str, number: int, bits: int) -> Any:
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(CURVES[kind]()) if kind in CURVES else rsa.generate_private_key(65537, bits)


def public_jwk(algorithm: str, kid: str, number: int = 0, bits: int = 2048, **more: Any) -> dict[str, Any]:
    """The public key as a JWK."""
    public = private_key(algorithm, number, bits).public_key()
    kind: Any = OKPAlgorithm if algorithm == "EdDSA" else ECAlgorithm if algorithm in CURVES else RSAAlgorithm
    described: dict[str, Any] = kind.to_jwk(public, as_dict=True)
    return {**described, "kid": kid, "use": "sig", **more}


def pem(algorithm: str = "RS256") -> bytes:
    """The public key as an attacker may take it for the secret of an HMAC."""
    public = private_key(algorithm).public_key()
    encoded: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def jwks(*keys: dict[str, Any]) -> bytes:
    """The document of these keys; of an RSA key `k1` if none is given."""
    return json.dumps({"keys": list(keys or [public_jwk("RS256", "k1")])}).encode()


def claims(**more: Any) -> dict[str, Any]:
    """Good ones, changed by these; None leaves a claim out. They last for as long as a run of all tests may take,
    as some are made when it begins."""
    now = time.time()
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 3600, "iat": now}
    return {name: value for name, value in (good | more).items() if value is not None}


def token(
    algorithm: str = "RS256",
    kid: str | None = "k1",
    number: int = 0,
    header: dict[str, Any] | None = None,
    **more: Any,
) -> str:
    """A token with a good signature; `more` are claims."""
    head = {**({} if kid is None else {"kid": kid}), **(header or {})}
    return jwt.encode(claims(**more), private_key(algorithm, number), algorithm=algorithm, headers=head)


def forged(header: dict[str, Any], payload: Any, signature: bytes = b"") -> str:
    """Three parts as they are given."""
    return ".".join(b64(each) for each in (json.dumps(header).encode(), json.dumps(payload).encode(), signature))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
