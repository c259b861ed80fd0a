"""Requests on a stream are load until they end, and tell of the endpoint's health one by one."""

from __future__ import annotations

import pytest

from config.pools import Outliers
from gateway.ingress.upstream import Upstream
from routing.call import Call
from routing.connectors.outcome import from_status
from routing.pool import Pool
from tests.support.clock import Clock
from tests.support.pools import a_pool, an_endpoint
from transcoding.message import Buffer
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError

BOOM = from_status(13, "boom")


class Attempt:
    def __init__(self) -> None:
        self.sent: list[object] = []

    def send(self, message: object) -> None:
        self.sent.append(message)


class Session:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def response(self, upstream: Upstream, message: Buffer) -> None:
        self.heard.append(bytes(message))

    def upstream_ended(self, upstream: Upstream, error: GatewayError | None) -> None:
        self.heard.append(error)

    def progress(self) -> None:
        self.heard.append("progress")


def a_request() -> Call:
    return Call(BY_NAME["ModelStreamInfer"], "m", "", ())


def an_upstream(clock: Clock) -> tuple[Upstream, Pool]:
    pool = a_pool([an_endpoint("a:1"), an_endpoint("b:1")], outliers=Outliers(consecutive=2), clock=clock)
    upstream = Upstream(Session(), pool, a_request())
    upstream.endpoint = pool.endpoints[0]
    upstream.attempt = Attempt()  # type: ignore[assignment]
    return upstream, pool


def test_requests_are_load_until_they_are_released() -> None:
    upstream, pool = an_upstream(Clock())
    for _ in range(3):
        upstream.send(a_request(), [b"x"])
    assert upstream.outstanding == pool.endpoints[0].in_flight == 3
    upstream.release(2, "ok")
    upstream.release(1, None)
    assert upstream.outstanding == pool.endpoints[0].in_flight == 0
    assert pool.endpoints[0].outcomes == {"ok": 2}


def test_errors_in_a_stream_take_the_endpoint_out_and_the_next_stream_brings_it_back() -> None:
    clock = Clock()
    upstream, pool = an_upstream(clock)
    for _ in range(2):
        upstream.send(a_request(), [b"x"])
    for _ in range(2):
        upstream.judge(BOOM)
        upstream.release(1, "model")
    assert pool.health.out == 1
    clock.now += 5
    probe = a_request()
    pool.health.sent(probe, pool.endpoints[0])
    upstream.send(probe, [b"x"])
    upstream.judge(None)
    assert pool.health.out == 0


def test_what_the_endpoint_says_goes_to_the_session() -> None:
    upstream, _ = an_upstream(Clock())
    upstream.message_received(b"m")
    upstream.upstream_writable()
    upstream.stream_ended(None)
    session = upstream._session
    assert isinstance(session, Session)
    assert session.heard == [b"m", "progress", None]


@pytest.mark.parametrize("error", [BOOM, None], ids=repr)
def test_judging_does_not_release(error: GatewayError | None) -> None:
    upstream, pool = an_upstream(Clock())
    upstream.send(a_request(), [b"x"])
    upstream.judge(error)
    assert pool.endpoints[0].in_flight == 1
