"""Chains are linked outermost first; replies give their payload without the prefix."""

from __future__ import annotations

import asyncio

from routing.call import Call, Handler, Reply, link
from tests.support.pools import OK, a_call, an_endpoint


def test_link_runs_policies_in_the_order_of_the_file() -> None:
    seen: list[str] = []

    class Note:
        def __init__(self, name: str) -> None:
            self.name = name

        async def __call__(self, call: Call, next: Handler, /) -> Reply:
            seen.append(self.name)
            return await next(call)

    async def end(call: Call) -> Reply:
        seen.append("end")
        return Reply(OK)

    asyncio.run(_await(link([Note("a"), Note("b")], end), a_call()))
    assert seen == ["a", "b", "end"]


async def _await(handler: Handler, call: Call) -> Reply:
    return await handler(call)


def test_payload_of_a_small_reply_is_bytes_and_of_a_large_one_a_view() -> None:
    assert Reply(b"\0\0\0\0\3abc").payload == b"abc"
    large = Reply(b"\0" * 5 + b"x" * 10_000).payload
    assert isinstance(large, memoryview)
    assert len(large) == 10_000


def test_a_call_says_what_it_is() -> None:
    assert repr(a_call("resnet", "2")) == "<Call ModelInfer 'resnet' version 2>"


def test_the_same_request_again_is_a_call_of_its_own_and_goes_elsewhere() -> None:
    first, second = an_endpoint("a:1"), an_endpoint("b:1")
    call = a_call("m", "2", sequence="7")
    call.route, call.variant, call.principal, call.idempotent, call.deadline = "r", "v", "p", True, 5.0
    call.tried, call.endpoint, call.attempts = (first,), second, 2
    other = call.again()
    names = ("method", "model", "version", "message", "metadata", "deadline", "sequence", "route", "variant",
             "principal", "idempotent")  # fmt: skip
    assert [getattr(other, name) for name in names] == [getattr(call, name) for name in names]
    assert (other.tried, other.endpoint, other.attempts) == ((first, second), None, 0)
