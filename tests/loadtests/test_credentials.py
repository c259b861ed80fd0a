"""The benchmarks' caller is known to who asks."""

from __future__ import annotations

import json

import jwt
import pytest

from loadtests.credentials import AUDIENCE, ISSUER, SUBJECT, ApiKey, Token
from state.key_file import parse
from state.keys import read, verify


def test_a_key_opens_what_its_file_says() -> None:
    key, other = ApiKey(), ApiKey()
    ((name, value),) = key.headers
    shown = read(value.removeprefix("Bearer "))
    assert name == "authorization"
    assert shown is not None
    assert verify(parse(key.file, "keys")[shown.id], shown.secret, 1.0)
    assert shown.id not in parse(other.file, "keys")


def test_a_token_is_signed_by_the_key_that_is_told() -> None:
    def claims(token: Token, by: Token) -> dict[str, object]:
        ((_, value),) = token.headers
        key = jwt.PyJWKSet.from_json(by.jwks)["k"]
        return jwt.decode(value.removeprefix("Bearer "), key, ["RS256"], audience=AUDIENCE, issuer=ISSUER)  # type: ignore[no-any-return]

    token = Token()
    assert claims(token, token)["sub"] == SUBJECT
    with pytest.raises(jwt.InvalidSignatureError):
        claims(token, Token())
    assert "d" not in json.loads(token.jwks)["keys"][0], "the private part stays here"
