"""What becomes of those that ask the same at the same time, in one worker and in several."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from routing.identity import Identity
from tests.support.asking import Cache, a_cache, a_request, asks, ready, two_caches, what
from tests.support.deadline import eventually
from tests.support.pools import State
from tests.support.valkey import Valkey
from transcoding.message import InferRequest, Tensor
from transcoding.status import Code, Fault, GatewayError


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


async def together(it: Cache, count: int, request: InferRequest | None = None) -> list[asyncio.Task[str]]:
    """So many that ask the same, when all of them have asked."""
    it.model.gate.clear()
    tasks = [asyncio.ensure_future(it.told(asks(request or a_request(1)))) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


def test_five_hundred_that_ask_the_same_are_one_for_the_model() -> None:
    async def scenario() -> None:
        it = a_cache()
        tasks = await together(it, 500)
        assert len(it.model.calls) == 1
        it.model.gate.set()
        assert sorted(await asyncio.gather(*tasks)) == ["miss", *["shared"] * 499]
        assert len(it.model.calls) == 1
        assert len(it.policy.flights) == 0

    run(scenario)


def test_a_leader_that_is_cancelled_is_followed_by_exactly_one() -> None:
    async def scenario() -> None:
        it = a_cache()
        tasks = await together(it, 5)
        for number in range(2):
            tasks[number].cancel()
            await asyncio.sleep(0.01)
            assert it.model.cancelled == number + 1
            assert len(it.model.calls) == number + 2
        it.model.gate.set()
        assert await asyncio.gather(*tasks[2:]) == ["miss", "shared", "shared"]
        assert len(it.policy.flights) == 0

    run(scenario)


def test_waiters_have_their_own_deadlines() -> None:
    async def scenario() -> None:
        it = a_cache()
        (leader,) = await together(it, 1)
        short = asks(a_request(1))
        short.deadline = asyncio.get_running_loop().time() + 0.02
        with pytest.raises(GatewayError) as caught:
            await it.ask(short)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        it.model.gate.set()
        assert await leader == "miss"

    run(scenario)


@pytest.mark.parametrize(
    "code",
    [Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED, Code.CANCELLED],
)
def test_what_is_the_leaders_own_trouble_is_not_told_to_the_others(code: Code) -> None:
    async def scenario() -> None:
        it = a_cache()
        tasks = await together(it, 3)
        it.model.error = GatewayError(code, "yours")
        it.model.gate.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        it.model.error = None
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], GatewayError)
        assert results[1:] == ["miss", "shared"]

    run(scenario)


def test_what_is_wrong_with_the_question_or_the_model_is_told_to_all() -> None:
    async def scenario() -> None:
        it = a_cache()
        tasks = await together(it, 100)
        it.model.error = GatewayError(Code.INTERNAL, "CUDA", fault=Fault.MODEL, executed=True, retry_after=2.0)
        it.model.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(it.model.calls) == 1
        assert {repr(each) for each in results} == {repr(it.model.error)}
        assert len({id(each) for each in results}) == 100, "each has one of his own"
        assert {each.retry_after for each in results if isinstance(each, GatewayError)} == {2.0}

    run(scenario)


def test_a_large_reply_is_shared_though_it_is_not_kept() -> None:
    async def scenario() -> None:
        it = a_cache(max_reply=50)
        it.model.outputs = [Tensor("OUT", "UINT8", (100,), os.urandom(100))]
        tasks = await together(it, 10)
        it.model.gate.set()
        assert sorted(await asyncio.gather(*tasks)) == ["miss", *["shared"] * 9]
        assert await it.told(asks(a_request(1))) == "miss"

    run(scenario)


# across workers -------------------------------------------------------------------------------------------------------


def test_workers_share_answers(valkey: Valkey) -> None:
    async def scenario() -> None:
        async with two_caches(valkey) as (one, other):
            assert await one.told(asks(a_request(1, id="x"))) == "miss"
            await asyncio.sleep(0.05)
            call = asks(a_request(1, id="y"), over_grpc=True)
            assert (await other.ask(call)).id == "y"
            assert what(call) == "hit"
            assert await other.told(asks(a_request(1))) == "hit"
            assert (other.counted("hit_store"), other.counted("hit")) == (1, 1)
            assert await other.told(asks(a_request(1), caller=Identity("eve", "other"))) == "miss"
            assert await other.told(asks(a_request(1), control="only-if-cached")) == "hit"

    run(scenario)


def test_five_hundred_over_two_workers_are_one_for_the_model(valkey: Valkey) -> None:
    async def scenario() -> None:
        async with two_caches(valkey) as (one, other):
            tasks = [task for it in (one, other) for task in await together(it, 250)]
            await asyncio.sleep(0.1)
            assert len(one.model.calls) == 1
            one.model.gate.set()
            told = await asyncio.gather(*tasks)
            assert len(one.model.calls) == 1
            assert told.count("miss") == 1

    run(scenario)


def test_a_leader_of_another_worker_that_is_cancelled_is_followed(valkey: Valkey) -> None:
    async def scenario() -> None:
        async with two_caches(valkey) as (one, other):
            (first,) = await together(one, 1)
            rest = await together(other, 3)
            first.cancel()
            await eventually(lambda: len(one.model.calls) == 2)
            one.model.gate.set()
            assert sorted(await asyncio.gather(*rest)) == ["miss", "shared", "shared"]

    run(scenario)


def test_a_load_that_one_worker_sees_ends_the_answers_of_all(valkey: Valkey) -> None:
    async def scenario() -> None:
        async with two_caches(valkey) as (one, other):
            await one.told(asks(a_request(1)))
            await asyncio.sleep(0.05)
            assert await other.told(asks(a_request(1))) == "hit"
            one.pool.endpoints[0].inventory = {"m": {"1": State("READY", load=2)}}
            one.pool.changed()
            await ready(one)
            await asyncio.sleep(0.05)
            assert await other.told(asks(a_request(1))) == "miss"

    run(scenario)


@pytest.mark.parametrize("trouble", ["paused", "killed", "full"])
def test_a_store_in_trouble_does_no_harm(valkey: Valkey, trouble: str) -> None:
    async def scenario() -> None:
        async with two_caches(valkey) as (one, _):
            await one.told(asks(a_request(1)))
            await asyncio.sleep(0.05)
            if trouble == "paused":
                valkey.pause()
            elif trouble == "killed":
                valkey.kill()
            else:
                valkey.ask("CONFIG", "SET", "maxmemory", "1")
            async with asyncio.timeout(5):
                for number in range(2, 50):
                    assert await one.told(asks(a_request(number))) == "miss"
                    assert await one.told(asks(a_request(number))) == "hit"
            assert await one.told(asks(a_request(1))) == "hit", "the first level goes on"
            if trouble == "paused":
                valkey.resume()

    run(scenario)
