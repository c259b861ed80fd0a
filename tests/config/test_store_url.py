"""Where the store is, as it is written; and no password on the way, not even in an error."""

from __future__ import annotations

import pytest

from config.store_url import StoreUrl, check_store, parse_store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("embedded", StoreUrl("embedded")),
        ("none", StoreUrl("none")),
        ("redis://cache", StoreUrl("server", addresses=(("cache", 6379),))),
        ("redis://cache:7000/3", StoreUrl("server", addresses=(("cache", 7000),), database=3)),
        ("rediss://gate@[::1]:7000", StoreUrl("server", True, "gate", (("::1", 7000),))),
        ("redis://[::1]", StoreUrl("server", addresses=(("::1", 6379),))),
        ("unix:/run/s", StoreUrl("server", path="/run/s")),
        ("unix:///run/s?db=2", StoreUrl("server", path="/run/s", database=2)),
        (
            "redis+sentinel://gate@a,b:26380/state/1",
            StoreUrl("sentinel", False, "gate", (("a", 26379), ("b", 26380)), "", "state", 1),
        ),
        ("rediss+cluster://a,b:7000", StoreUrl("cluster", True, addresses=(("a", 6379), ("b", 7000)))),
    ],
)
def test_forms(text: str, expected: StoreUrl) -> None:
    assert parse_store(text) == expected
    assert check_store(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redis", "expected embedded, none, or the URL of a Redis"),
        ("http://a", "expected embedded"),
        ("redis://", "expected embedded"),
        ("redis://a,b", "expected one server, got 2; several are written redis"),
        ("redis://a/x", "expected the number of a database, got 'x'"),
        ("redis://a/1/2", "expected nothing after the database, got '2'"),
        ("redis://a:0", "expected a port between 1 and 65535, got 0"),
        ("redis://a_b..c", "expected a host name or an IP address"),
        ("redis+sentinel://a", "expected the name of the service after the sentinels"),
        ("redis+cluster://a/1", "expected nothing after the members"),
        ("unix:run/s", "expected embedded"),
        ("unix:/run/s?db=99999", "expected the number of a database"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^expected") as caught:
        parse_store(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "redis://:canary@a",
        "redis://user:canary@a",
        "redis://user:can/canary@b@a",
        "redis://a?password=canary",
        "rediss+sentinel://user:canary@a/state",
        "canary@a",
        "redis://user:canary@",
    ],
)
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_store(text)
    assert "canary" not in str(caught.value)
