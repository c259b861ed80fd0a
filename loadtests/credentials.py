"""What a caller of the benchmarks shows where somebody asks who calls: an API key, or a token signed as RS256."""

from __future__ import annotations

import json
import time
from functools import cached_property
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from loadtests.exchange import Headers
from state.key_file import entry_of
from state.keys import KeyRecord, mint

ISSUER, AUDIENCE, SUBJECT = "https://login.example", "inference", "caller"
LIFETIME = 86_400
RSA_BITS = 2048


def bearer(text: str) -> Headers:
    """The header field of a credential."""
    return (("authorization", f"Bearer {text}"),)


class ApiKey:
    """A key of Penstock and the file with its digest."""

    def __init__(self) -> None:
        self._minted = mint()

    @property
    def headers(self) -> Headers:
        """What the caller sends."""
        return bearer(self._minted.text)

    @property
    def file(self) -> str:
        """The text of a `key_file`."""
        record = KeyRecord(self._minted.id, self._minted.digest, SUBJECT, tenant="acme", scopes=("infer",))
        return yaml.safe_dump({"keys": [entry_of(record)]})


class Token:
    """A token (RFC 7519) of an issuer with one RSA key, and that key as a JWKS (RFC 7517)."""

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, RSA_BITS)

    @cached_property
    def headers(self) -> Headers:
        """What the caller sends; valid for a day."""
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "exp": int(time.time()) + LIFETIME}
        return bearer(jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "k"}))

    @property
    def jwks(self) -> str:
        """The public key, as JSON."""
        public: dict[str, Any] = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": "k", "alg": "RS256", "use": "sig"}]})
