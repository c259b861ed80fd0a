"""What a token says, once its signature is known to be good: times that count, and who its holder is."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

LATEST: Final = 253_402_300_800.0
"""The year 10000: what expires later is a mistake, not a time."""
LONGEST: Final = 255
_SCOPES: Final = 256

Claims = Mapping[str, Any]


class BadClaim(Exception):
    """A claim that is missing, or is not what it must be. The text is for whoever has the token."""


class Claim:
    """A claim by name: that of the token itself, or else by its parts between dots, such as `realm_access.roles`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts = name.split(".")

    def of(self, claims: Claims) -> Any:
        """Its value, None where there is none."""
        if self.name in claims:
            return claims[self.name]
        value: Any = claims
        for part in self._parts:
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value

    def text(self, claims: Claims) -> str:
        """Its value as a name. Raises `BadClaim` for what is none: empty, too long, or with invisible characters."""
        value = self.of(claims)
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= LONGEST:
            raise BadClaim(f"the token has no usable claim '{self.name}'")
        return value

    def words(self, claims: Claims) -> frozenset[str]:
        """Its value as words: a list of them, or text with blanks between (RFC 8693 §4.2). What is no text is left
        out."""
        value = self.of(claims)
        listed = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
        return frozenset([each for each in listed if isinstance(each, str) and each][:_SCOPES])


def good_until(claims: Claims, now: float, skew: float, max_lifetime: float) -> float:
    """Until when the token is good, in seconds since 1970; clocks may differ by `skew` seconds. `exp` must be there.
    Raises `BadClaim` if it is not good at `now`, or for longer than `max_lifetime`, where that is not 0."""
    expires, begins, issued = _time(claims, "exp"), _time(claims, "nbf"), _time(claims, "iat")
    if expires is None:
        raise BadClaim("the token has no claim 'exp'")
    if expires + skew <= now:
        raise BadClaim("the token has expired")
    if begins is not None and begins - skew > now:
        raise BadClaim("the token is not valid yet")
    since = now if issued is None else issued
    if max_lifetime and expires - since > max_lifetime + skew:
        raise BadClaim("the token lives longer than is accepted here")
    return expires + skew


def _time(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LATEST or not isfinite(value):
        raise BadClaim(f"the token's claim '{name}' is no time")
    return float(value)
