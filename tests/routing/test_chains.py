"""What of a chain runs with a request's head alone, what once it is read, and what without tensors."""

from __future__ import annotations

import asyncio

from routing.call import Call, Reply
from routing.chains import NO_CHAINS, chains
from tests.support.acting import Acting
from tests.support.pools import OK, a_call


class Named(Acting):
    """A policy that is this and that."""

    def __init__(self, name: str, order: list[str], **is_a: bool) -> None:
        super().__init__(lambda call: order.append(name))
        for attribute, value in is_a.items():
            setattr(self, attribute, value)


def passed(handler: object, order: list[str]) -> list[str]:
    """Whom a call passes, in order."""

    async def end(call: Call) -> Reply:
        order.append("end")
        return Reply(OK)

    call = a_call()
    call.proceed = end
    order.clear()
    asyncio.run(handler(call))  # type: ignore[operator]
    return list(order)


def test_no_policies_are_nothing() -> None:
    assert chains(()) is NO_CHAINS


def test_the_head_ends_with_the_last_policy_of_identity() -> None:
    order: list[str] = []
    first, key, limit, token, cache = (
        Named("first", order),
        Named("key", order, identifies=True),
        Named("limit", order, guards=True),
        Named("token", order, identifies=True),
        Named("cache", order),
    )
    parts = chains((first, key, limit, token, cache))
    assert parts.tail == (cache,)
    assert passed(parts.head, order) == ["first", "key", "limit", "end"]
    assert passed(parts.guards, order) == ["key", "limit", "end"]
    assert not parts.needs_view


def test_without_identity_everything_is_the_tail() -> None:
    order: list[str] = []
    limit, cache = Named("limit", order, guards=True), Named("cache", order)
    parts = chains((limit, cache))
    assert parts.head is None
    assert parts.tail == (limit, cache)
    assert passed(parts.guards, order) == ["limit", "end"]
    assert chains((cache,)).guards is None


def test_who_looks_at_a_head() -> None:
    order: list[str] = []
    looks, guards = Named("looks", order, needs_view=True), Named("guards", order, guards=True)
    parts = chains((looks, guards))
    assert parts.needs_view
    assert not parts.guards_view


def test_a_route_asks_again_who_calls_whatever_its_listener_found() -> None:
    order: list[str] = []
    key, limit, token, cache = (
        Named("key", order, identifies=True),
        Named("limit", order, guards=True),
        Named("token", order, identifies=True),
        Named("cache", order),
    )
    parts = chains((token, cache), (key, limit))
    assert passed(parts.head, order) == passed(parts.guards, order) == ["key", "limit", "token", "end"]
    assert parts.tail == (cache,)
    parts = chains((cache,), (key, limit))
    assert passed(parts.head, order) == ["key", "end"]
    assert parts.tail == (limit, cache)
    parts = chains((cache, token), (limit,))
    assert passed(parts.head, order) == ["limit", "cache", "token", "end"]
    assert chains((), (key,)).tail == ()
