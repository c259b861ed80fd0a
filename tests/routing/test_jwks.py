"""Of a key set only public keys for signatures are kept, each for the algorithms that it can be for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routing.jwks import MOST_KEYS, read_keys
from tests.support.issuer import CURVES, jwks, private_key, public_jwk

ALL = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@pytest.mark.parametrize("algorithm", ["RS256", *CURVES, "EdDSA"])
def test_a_key_is_for_what_its_type_says(algorithm: str) -> None:
    (key,) = read_keys(jwks(public_jwk(algorithm, "k")), ALL).keys
    expected = set(ALL[:6]) if algorithm == "RS256" else {algorithm}
    assert key.algorithms == expected
    assert key.key.public_numbers if algorithm != "EdDSA" else True


def test_an_algorithm_in_the_key_narrows_it() -> None:
    (key,) = read_keys(jwks(public_jwk("RS256", "k", alg="PS384")), ALL).keys
    assert key.algorithms == {"PS384"}


def test_only_allowed_algorithms_count() -> None:
    keys = read_keys(jwks(public_jwk("RS256", "a"), public_jwk("ES256", "b")), ("ES256",))
    assert keys.kids == {"b"}


SYMMETRIC = {"kty": "oct", "kid": "s", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}


@pytest.mark.parametrize(
    "left_out",
    [
        SYMMETRIC,
        {**SYMMETRIC, "alg": "RS256"},
        public_jwk("RS256", "k", use="enc"),
        public_jwk("RS256", "k", key_ops=["encrypt"]),
        public_jwk("RS256", "k", alg="HS256"),
        public_jwk("RS256", "k", alg=7),
        public_jwk("RS256", "k", kty="EC"),
        public_jwk("ES256", "k", crv="P-384"),
        public_jwk("ES256", "k", crv="X25519"),
        public_jwk("RS256", "k", n="!"),
        {"kty": "RSA", "kid": "k"},
        public_jwk("RS256", "k", bits=1024),
        public_jwk("RS256", "k", d="AQAB"),
        {},
    ],
    ids=lambda each: json.dumps({name: value for name, value in each.items() if name not in ("n", "x", "y", "e")}),
)
def test_what_may_verify_nothing_is_left_out(left_out: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="none of 1 keys may verify"):
        read_keys(jwks(left_out), ALL)
    assert read_keys(jwks(left_out, public_jwk("ES256", "good")), ALL).kids == {"good"}


@pytest.mark.parametrize(
    "document",
    [b"", b"\xff", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [7]}', b"[" * 100_000, b'{"keys":' + b"[" * 100_000,
     json.dumps({"keys": [public_jwk("ES256", "k")] * (MOST_KEYS + 1)}).encode()],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(ValueError):
        read_keys(document, ALL)


def test_a_token_without_a_kid_needs_that_only_one_key_can_be_meant() -> None:
    keys = read_keys(jwks(public_jwk("RS256", "a"), public_jwk("RS256", "b", number=1), public_jwk("ES256", "c")), ALL)
    assert keys.find("", "RS256") is None
    found = keys.find("", "ES256")
    assert found is not None
    assert found.kid == "c"


def test_a_kid_with_another_algorithm_finds_nothing() -> None:
    keys = read_keys(jwks(public_jwk("RS256", "a"), public_jwk("ES256", "b")), ALL)
    assert keys.find("a", "ES256") is None
    assert keys.find("b", "RS256") is None
    assert keys.find("c", "RS256") is None


def test_two_keys_of_one_name_are_told_apart_by_algorithm_only() -> None:
    keys = read_keys(jwks(public_jwk("RS256", "a"), public_jwk("ES256", "a"), public_jwk("EdDSA", "b")), ALL)
    found = keys.find("a", "ES256")
    assert found is not None
    assert found.key.public_numbers() == private_key("ES256").public_key().public_numbers()
    assert read_keys(jwks(public_jwk("RS256", "a"), public_jwk("RS256", "a", number=1)), ALL).find("a", "RS256") is None
