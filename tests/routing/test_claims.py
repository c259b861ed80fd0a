"""Times that are times, and names that are names."""

from __future__ import annotations

from typing import Any

import pytest

from routing.claims import LATEST, BadClaim, Claim, good_until

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({}, "no claim 'exp'"),
        ({"exp": None}, "no claim 'exp'"),
        ({"exp": NOW - 30}, "has expired"),
        ({"exp": 0}, "has expired"),
        ({"exp": str(NOW + 100)}, "'exp' is no time"),
        ({"exp": True}, "'exp' is no time"),
        ({"exp": [NOW + 100]}, "'exp' is no time"),
        ({"exp": -1}, "'exp' is no time"),
        ({"exp": 10**30}, "'exp' is no time"),
        ({"exp": 10**400}, "'exp' is no time"),
        ({"exp": LATEST}, "'exp' is no time"),
        ({"exp": float("inf")}, "'exp' is no time"),
        ({"exp": float("nan")}, "'exp' is no time"),
        ({"exp": NOW + 100, "nbf": NOW + 31}, "not valid yet"),
        ({"exp": NOW + 100, "nbf": "now"}, "'nbf' is no time"),
        ({"exp": NOW + 100, "iat": {}}, "'iat' is no time"),
        ({"exp": NOW + 3631}, "lives longer"),
        ({"exp": NOW + 100, "iat": NOW - 3600}, "lives longer"),
    ],
    ids=repr,
)
def test_i2_times_that_do_not_do(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(BadClaim, match=why):
        good_until(claims, NOW, 30.0, 3600.0)


@pytest.mark.parametrize(
    ("claims", "until"),
    [
        ({"exp": NOW + 100}, NOW + 130),
        ({"exp": NOW - 29}, NOW + 1),
        ({"exp": NOW + 100.5, "nbf": NOW + 30}, NOW + 130.5),
        ({"exp": NOW + 3600, "iat": NOW, "nbf": 0}, NOW + 3630),
    ],
    ids=repr,
)
def test_times_that_do(claims: dict[str, Any], until: float) -> None:
    assert good_until(claims, NOW, 30.0, 3600.0) == until
    assert good_until(claims, NOW, 30.0, 0.0) == until


def test_claims_within_claims() -> None:
    claims = {"a": {"b": {"c": "deep"}}, "https://x.example/tenant": "acme", "d.e": "flat", "d": {"e": "deep"}}
    assert Claim("a.b.c").of(claims) == "deep"
    assert Claim("https://x.example/tenant").of(claims) == "acme"
    assert Claim("d.e").of(claims) == "flat"
    assert Claim("a.b.c.d").of(claims) is None
    assert Claim("x.y").of(claims) is None


@pytest.mark.parametrize("value", [None, "", 7, ["alice"], {"sub": "alice"}, "a\nb", "a\0", "x" * 256, "\u202e"])
def test_what_is_no_name(value: Any) -> None:
    with pytest.raises(BadClaim, match="no usable claim 'sub'"):
        Claim("sub").text({"sub": value})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a b  c", {"a", "b", "c"}),
        (["a", "b c", 7, None, ""], {"a", "b c"}),
        ("", set()),
        (7, set()),
        ({"a": 1}, set()),
    ],
)
def test_words(value: Any, words: set[str]) -> None:
    assert Claim("scope").words({"scope": value}) == words
    assert len(Claim("scope").words({"scope": [str(number) for number in range(1000)]})) == 256
