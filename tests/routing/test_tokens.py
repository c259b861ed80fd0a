"""Nothing of a token is believed before its signature; `tests/policies/test_jwt.py` has what attackers write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.claims import BadClaim
from routing.jwks import SigningKey, read_keys
from routing.tokens import BadToken, Header, claims_of, glance
from tests.support.issuer import AUDIENCE, ISSUER, b64, jwks, public_jwk, token


def key(algorithm: str = "ES256", number: int = 0) -> SigningKey:
    (found,) = read_keys(jwks(public_jwk(algorithm, "k1", number)), ("ES256", "RS256")).keys
    return found


def test_a_glance_tells_how_it_says_it_is_signed() -> None:
    assert glance(token("ES256").encode(), ISSUER) == Header("ES256", "k1")
    assert glance(token("ES256", None).encode(), ISSUER) == Header("ES256", "")
    assert glance(token("ES256").encode(), "https://other.example") is None


@given(st.binary() | st.text('Aa0_-.{}[]"=+/', max_size=60).map(str.encode) | st.just(b"a.b"))
def test_a_glance_at_anything_is_a_header_or_bad(data: bytes) -> None:
    try:
        assert glance(data, ISSUER) is None
    except BadToken:
        return


@pytest.mark.parametrize("body", ["[]", "7", "{", '{"iss": 1}{', "[" * 5000])
def test_bodies_that_are_no_claims(body: str) -> None:
    text = f"{b64(b'{}')}.{b64(body.encode())}.{b64(b'x')}".encode()
    with pytest.raises(BadToken):
        claims_of(text, key(), ISSUER, [AUDIENCE])
    with pytest.raises(BadToken):
        glance(text, ISSUER)


def test_claims_of_a_good_token() -> None:
    claims = claims_of(token("ES256", sub="bob").encode(), key(), ISSUER, ["other", AUDIENCE])
    assert claims["sub"] == "bob"


@pytest.mark.parametrize(("change", "why"), [({"aud": "other"}, "audience"), ({"exp": None}, "'exp'")])
def test_claims_are_looked_at_behind_a_good_signature_only(change: dict[str, str | None], why: str) -> None:
    text = token("ES256", **change).encode()
    with pytest.raises(BadClaim, match=why):
        claims_of(text, key(), ISSUER, [AUDIENCE])
    with pytest.raises(BadToken):
        claims_of(text, key(number=1), ISSUER, [AUDIENCE])
    with pytest.raises(BadToken):
        claims_of(text, key("RS256"), ISSUER, [AUDIENCE])


def test_the_issuer_is_compared_again_by_what_is_signed() -> None:
    with pytest.raises(BadToken):
        claims_of(token("ES256", iss="https://other.example").encode(), key(), ISSUER, [AUDIENCE])
