"""One request of a stream: sent, sent once more, answered and over, each counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.ingress.grpc_request import StreamRequest
from routing.call import Reply
from routing.connectors.outcome import broken, from_status
from routing.endpoint import Endpoint
from routing.pool import Pool
from routing.tasks import spawn
from tests.support.build import interpreted_only
from tests.support.pools import a_pool
from tests.support.stream_session import Session, StreamChannel, a_request
from transcoding.status import GatewayError

pytestmark = interpreted_only  # it gives requests streams that are none

BUSY = from_status(14, "Exceeds maximum queue size")
BOOM = from_status(13, "boom")


class World:
    """A session over a pool of two endpoints, of which the first is chosen."""

    def __init__(self) -> None:
        self.session = Session()
        self.endpoints = [Endpoint(f"{name}:1", StreamChannel()) for name in "ab"]
        for endpoint in self.endpoints:
            endpoint.live = True
        self.pool: Pool = a_pool(self.endpoints, "first")

    async def asked(self, request: StreamRequest) -> asyncio.Task[Reply]:
        """Its call at the pool, once it was sent."""
        task = spawn(self.pool.forward(request.call), "request")
        await self.until(lambda: request.upstream is not None)
        return task

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(2):
            while not holds():
                await asyncio.sleep(0)

    def lose(self, request: StreamRequest, error: GatewayError) -> None:
        """As the session does when the endpoint says this in place of an answer."""
        assert request.upstream is not None
        request.upstream.remove(request)
        request.upstream = None
        request.failed(error, b"told")


def run(use: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        await use(World())

    asyncio.run(main())


def test_its_beginning_is_the_answer_of_its_call() -> None:
    async def use(world: World) -> None:
        request = a_request(world.session, "x")
        task = await world.asked(request)
        assert (request.sent, task.done(), world.endpoints[0].in_flight) == (True, False, 1)
        request.heard()
        await task
        assert (request.spent, world.endpoints[0].in_flight) == (True, 1)
        request.done(None)
        assert world.endpoints[0].in_flight == 0
        assert world.endpoints[0].outcomes == {"ok": 1}
        assert world.session.heard == ["sent", "room", "passed on", "forgotten"]

    run(use)


def test_one_that_never_ran_is_sent_to_another_endpoint() -> None:
    async def use(world: World) -> None:
        request = a_request(world.session, "x")
        task = await world.asked(request)
        world.lose(request, BUSY)
        await world.until(lambda: request.upstream is not None)
        assert request.upstream is not None
        assert request.upstream.endpoint is world.endpoints[1]
        request.heard()
        await task
        assert [endpoint.in_flight for endpoint in world.endpoints] == [0, 1]
        assert world.endpoints[0].outcomes == {"busy": 1}
        assert world.session.heard.count("passed on") == 1

    run(use)


@pytest.mark.parametrize(("error", "spent"), [(BOOM, False), (broken("a:1", 2, executed=True), False), (BUSY, True)])
def test_one_that_may_have_run_or_is_spent_is_not(error: GatewayError, spent: bool) -> None:
    async def use(world: World) -> None:
        request = a_request(world.session, "x")
        task = await world.asked(request)
        request.spent = spent
        world.lose(request, error)
        with pytest.raises(GatewayError) as caught:
            await task
        assert caught.value is error is request.failure
        assert [endpoint.in_flight for endpoint in world.endpoints] == [0, 0]

    run(use)


def test_the_stream_in_use_is_preferred_unless_the_call_was_there_or_it_is_passed_over() -> None:
    async def use(world: World) -> None:
        second = world.endpoints[1]
        await world.session.upstreams.at(second)
        request = a_request(world.session, "x")
        assert request.at(world.pool, request.call) is second
        request.call.tried = (second,)
        assert request.at(world.pool, request.call) is None
        request.call.tried = ()
        for _ in range(world.pool.health.spec.consecutive):
            world.pool.judge(request.call, second, BOOM)
        assert request.at(world.pool, request.call) is None

    run(use)


def test_what_a_policy_holds_is_given_back_when_the_answer_is_over() -> None:
    async def use(world: World) -> None:
        request, held = a_request(world.session, "x"), ["permit", "span"]
        for each in tuple(held):
            request.at_end(lambda each=each: held.remove(each))  # type: ignore[misc]
        request.heard()
        assert len(held) == 2
        request.end()
        request.end()
        assert held == []

    run(use)


def test_one_that_takes_too_long_tells_of_the_endpoint_and_ends_the_session() -> None:
    async def use(world: World) -> None:
        request = a_request(world.session, "x")
        request.limits.within(world.session.loop.time(), 0.01, None)
        task = await world.asked(request)
        await world.until(lambda: any(isinstance(each, GatewayError) for each in world.session.heard))
        (error,) = (each for each in world.session.heard if isinstance(each, GatewayError))
        assert "timeout.first_byte" in error.message
        assert world.endpoints[0].outcomes == {"worker": 1}
        task.cancel()

    run(use)
