"""What is unsound in a chain, by what its policies say of themselves."""

from __future__ import annotations

from routing.order import IDENTITY, Doubt, Link, Unsound, doubts


def a_link(kind: str, *order: Unsound, **more: object) -> Link:
    return Link(kind, "", {}, order=order, **more)  # type: ignore[arg-type]


KEY = a_link("api_key", roles=frozenset({IDENTITY}))
LIMIT = a_link("rate_limit")


def found(*chain: Link) -> list[Doubt]:
    return list(doubts(chain))


def test_what_has_no_opinion_may_stand_anywhere() -> None:
    assert found(LIMIT, KEY, LIMIT) == []


def test_before_and_after() -> None:
    retry = a_link("retry", Unsound("before", "rate_limit", "each attempt counts"))
    assert found(LIMIT, retry) == []
    assert found(retry, KEY, LIMIT) == [Doubt(0, "retry stands before rate_limit: each attempt counts")]
    cache = a_link("cache", Unsound("after", "rate_limit", "hits count"))
    assert found(LIMIT, cache) == [Doubt(1, "cache stands after rate_limit: hits count")]
    assert found(cache, LIMIT) == []


def test_without_one_before_it() -> None:
    allow = a_link("authorize", Unsound("without", IDENTITY, "nobody is known"))
    said = "authorize stands without a policy of identity before it: nobody is known"
    assert found(allow) == [Doubt(0, said)]
    assert found(allow, KEY) == [Doubt(0, said)]
    assert found(KEY, allow) == []


def test_only_with_some_options() -> None:
    by_principal = Unsound("without", IDENTITY, "nobody", lambda options: "principal" in options["by"])
    limits = [Link("rate_limit", "per_user", {"by": by}, order=(by_principal,)) for by in (["model"], ["principal"])]
    assert found(*limits) == [
        Doubt(1, "rate_limit (per_user) stands without a policy of identity before it: nobody")
    ]  # fmt: skip


def test_what_needs_the_request_cannot_come_before_it_is_read() -> None:
    cache = a_link("cache", needs_body=True)
    assert found(KEY, cache) == []
    (doubt,) = found(cache, KEY)
    assert (doubt.position, doubt.fatal) == (0, True)
    assert doubt.message.startswith("expected cache after api_key: ")
