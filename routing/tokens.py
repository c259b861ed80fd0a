"""Signatures of JSON Web Tokens, checked by PyJWT; what is in a token is believed only after that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

import jwt
import msgspec
from jwt.utils import base64url_decode
from msgspec import Meta

from routing.claims import BadClaim, Claims
from routing.jwks import SigningKey

_COMPACT: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch
"""RFC 7515 §7.1, with neither padding nor anything between that a decoder may skip."""
_OPTIONS: Final[Any] = {
    "require": ["exp", "iss", "aud"],
    "verify_exp": False,  # these three are looked at by `claims.good_until`, which knows when a token stops being good
    "verify_nbf": False,
    "verify_iat": False,
}


class BadToken(Exception):
    """Something that is no token, or is not signed by whom it should be. Nobody is told more of it."""


class Header(msgspec.Struct):
    """What of a token's header is looked at before its signature: by which key, and how, it says it is signed."""

    alg: Annotated[str, Meta(max_length=16)]
    kid: Annotated[str, Meta(max_length=256)] = ""


class _Issued(msgspec.Struct):
    iss: Any = None


def glance(token: bytes, issuer: str) -> Header | None:
    """What a token's header says, None if it says that it is of another issuer. Raises `BadToken`."""
    if not _COMPACT(token):
        raise BadToken
    head, body, _ = token.split(b".")
    try:
        if msgspec.json.decode(base64url_decode(body), type=_Issued).iss != issuer:
            return None
        return msgspec.json.decode(base64url_decode(head), type=Header)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise BadToken from None


def claims_of(token: bytes, key: SigningKey, issuer: str, audiences: Sequence[str]) -> Claims:
    """What a token says that is signed with this key, by this issuer, for one of these audiences; its times are still
    to be looked at. Raises `BadToken`, and `BadClaim` where the signature is good."""
    try:
        return jwt.decode(
            token, key.key, algorithms=sorted(key.algorithms), audience=audiences, issuer=issuer, options=_OPTIONS
        )
    except jwt.InvalidAudienceError:
        raise BadClaim("the token is not for this audience") from None
    except jwt.MissingRequiredClaimError as error:
        raise BadClaim(f"the token has no claim '{error.claim}'") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise BadToken from None
