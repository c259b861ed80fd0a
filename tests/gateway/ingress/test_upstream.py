"""Whose response it is, and which stream takes a request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.ingress.grpc_request import StreamRequest
from gateway.ingress.upstream import Upstream, Upstreams, unanswered
from routing.endpoint import Endpoint
from tests.support.stream_session import Attempt, Session, StreamChannel, a_request
from transcoding.status import Code


def an_upstream(session: Session | None = None) -> Upstream:
    upstream = Upstream(session or Session(), Endpoint("a:1", StreamChannel()))
    upstream.attempt = Attempt()  # type: ignore[assignment]
    return upstream


def waiting(upstream: Upstream, *ids: str) -> list[StreamRequest]:
    requests = [a_request(Session(), id) for id in ids]
    for request in requests:
        upstream.add(request)
    return requests


def test_responses_are_told_apart_by_their_ids_and_else_by_order() -> None:
    upstream = an_upstream()
    first, a, second, b = waiting(upstream, "", "a", "", "b")
    assert upstream.outstanding == 4
    assert [upstream.of(each) for each in ("b", "", "a")] == [b, first, a]
    upstream.remove(first)
    assert upstream.of("") is second
    assert upstream.outstanding == 3


def test_an_endpoint_that_repeats_no_ids_answers_the_first() -> None:
    upstream = an_upstream()
    a, _ = waiting(upstream, "a", "b")
    assert upstream.of("") is a
    assert an_upstream().of("") is None


def test_all_that_wait_are_lost_with_it() -> None:
    upstream = an_upstream()
    requests = waiting(upstream, "a", "", "b")
    assert {*upstream.clear()} == {*requests}
    assert (upstream.outstanding, upstream.shares("a")) == (0, False)


def test_what_the_endpoint_says_goes_to_the_session() -> None:
    session = Session()
    upstream = an_upstream(session)
    upstream.message_received(b"m")
    upstream.upstream_writable()
    upstream.stream_ended(None)
    assert session.heard == [b"m", "progress", None]


def test_it_takes_no_requests_once_it_closes() -> None:
    async def main() -> None:
        upstreams, endpoint = Upstreams(Session(), b"", None), Endpoint("a:1", StreamChannel())
        first = await upstreams.at(endpoint)
        assert await upstreams.at(endpoint) is first
        first.close()
        assert first.attempt.half_closed  # type: ignore[attr-defined]
        assert await upstreams.at(endpoint) is not first
        assert len(upstreams.open) == 2

    asyncio.run(main())


def test_two_that_open_a_stream_at_once_share_it() -> None:
    async def main() -> None:
        channel = StreamChannel(slow=True)
        upstreams, endpoint = Upstreams(Session(), b"", None), Endpoint("a:1", channel)
        one, two = await asyncio.gather(upstreams.at(endpoint), upstreams.at(endpoint))
        assert one is two
        assert [attempt.cancelled for attempt in channel.attempts] == [False, True]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("id", "sequence", "others", "limbo", "waits"),
    [
        ("", "", 0, 0, False),
        ("", "", 1, 0, True),
        ("x", "", 1, 0, False),
        ("", "", 0, 1, True),
        ("x", "", 0, 1, False),
        ("x", "7", 0, 1, True),
        ("x", "7", 1, 0, False),
    ],
)
def test_what_could_be_taken_for_another_waits(id: str, sequence: str, others: int, limbo: int, waits: bool) -> None:
    upstreams = Upstreams(Session(), b"", None)
    here, elsewhere = an_upstream(), an_upstream()
    upstreams.open += [here, elsewhere]
    waiting(elsewhere, *["o"] * others)
    waiting(here, "h")
    upstreams.limbo = limbo
    assert upstreams.must_wait(a_request(Session(), id, sequence), here) is waits


@pytest.mark.parametrize(
    ("request_", "others", "limbo", "alone"),
    [
        ({"id": ""}, [], 0, True),
        ({"id": ""}, ["x"], 0, False),
        ({"id": ""}, [], 1, False),
        ({"id": "x"}, ["", "y"], 1, True),
        ({"id": "x"}, ["x"], 0, False),
        ({"id": "x", "sequence": "7"}, ["y"], 0, False),
    ],
)
def test_what_may_be_sent_after_the_others(request_: Any, others: list[str], limbo: int, alone: bool) -> None:
    upstreams = Upstreams(Session(), b"", None)
    upstream = an_upstream()
    upstreams.open.append(upstream)
    waiting(upstream, *others)
    upstreams.limbo = limbo
    assert upstreams.alone(a_request(Session(), **request_)) is alone


def test_an_end_without_the_answers_names_the_endpoint() -> None:
    error = unanswered("a:1")
    assert (error.code, error.executed, "a:1" in error.message) == (Code.UNAVAILABLE, True, True)
