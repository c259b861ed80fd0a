"""Who may take a call, what happens when nobody may, and what may be sent to another endpoint."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from routing.connectors.outcome import broken
from routing.endpoint import Endpoint
from routing.pool import MAX_ATTEMPTS, REMEMBERED_CANDIDATES, Pool, by_sequence
from tests.support.pools import OK, ScriptedChannel, a_call, a_pool, an_endpoint
from transcoding.http2.errors import ErrorCode
from transcoding.status import Code, Fault, GatewayError

READY = {"m": {"1": "READY"}}


def not_taken() -> GatewayError:
    return broken("a:1", ErrorCode.REFUSED_STREAM, executed=False)


def refused() -> GatewayError:
    return GatewayError(Code.UNAVAILABLE, "gone", fault=Fault.WORKER, executed=False)


def forward(pool: Pool, **call: str) -> bytes:
    return bytes(asyncio.run(pool.forward(a_call(**call))).framed)


def test_only_live_endpoints_with_the_model_ready_are_candidates() -> None:
    has, lacks, dead = an_endpoint("a:1", READY), an_endpoint("b:1", {}), an_endpoint("c:1", READY)
    dead.live = False
    assert a_pool([has, lacks, dead]).candidates("m", "1") == (has,)


def test_connected_endpoints_are_preferred_but_not_required() -> None:
    warm, cold = an_endpoint("a:1", READY), an_endpoint("b:1", READY, ScriptedChannel(connected=False))
    assert a_pool([warm, cold]).candidates("m", "") == (warm,)
    assert a_pool([cold]).candidates("m", "") == (cold,)


def test_candidates_are_remembered_until_something_changes() -> None:
    endpoint = an_endpoint("a:1", READY)
    pool = a_pool([endpoint])
    assert pool.candidates("m", "") == (endpoint,)
    endpoint.live = False
    assert pool.candidates("m", "") == (endpoint,)
    generation = pool.generation
    pool.changed()
    assert pool.candidates("m", "") == ()
    assert pool.generation == generation + 1


def test_what_is_remembered_is_bounded() -> None:
    pool = a_pool([an_endpoint("a:1", READY)])
    for number in range(REMEMBERED_CANDIDATES + 10):
        pool.candidates(f"m{number}", "")
    assert len(pool._candidates) <= REMEMBERED_CANDIDATES


@pytest.mark.parametrize(
    ("models", "version", "code", "text"),
    [
        ({}, "", Code.NOT_FOUND, "Request for unknown model: 'm' is not found"),
        ({"m": {"1": "READY"}}, "9", Code.NOT_FOUND, "Request for unknown model: 'm' version 9 is not found"),
        ({"m": {"1": "UNAVAILABLE"}}, "", Code.NOT_FOUND, "Request for unknown model: 'm' has no available versions"),
        ({"m": {}}, "", Code.NOT_FOUND, "Request for unknown model: 'm' has no available versions"),
        (
            {"m": {"1": "UNAVAILABLE"}},
            "1",
            Code.UNAVAILABLE,
            "Request for unknown model: 'm' version 1 is not at ready state",
        ),
        ({"m": {"1": "LOADING"}}, "", Code.UNAVAILABLE, "model 'm' is loading"),
        ({"m": {"1": "LOADING"}}, "1", Code.UNAVAILABLE, "model 'm' is loading"),
    ],
)
def test_each_why_not_has_its_own_answer(
    models: dict[str, dict[str, str]], version: str, code: Code, text: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        forward(a_pool([an_endpoint("a:1", models)]), version=version)
    assert (caught.value.code, caught.value.message) == (code, text)


def test_no_live_endpoint_is_its_own_answer() -> None:
    endpoint = an_endpoint("a:1", READY)
    endpoint.live = False
    with pytest.raises(GatewayError, match="no endpoint of pool 'p' is live") as caught:
        forward(a_pool([endpoint]))
    assert caught.value.code is Code.UNAVAILABLE


def test_what_was_never_executed_goes_to_another_endpoint() -> None:
    retries: Counter[tuple[str, str]] = Counter()
    bad, good = ScriptedChannel(refused()), ScriptedChannel()
    pool = a_pool(
        [an_endpoint("b:1", READY, good), an_endpoint("a:1", READY, bad)],
        on_retry=lambda pool, reason: retries.update([(pool, reason)]),
    )
    assert [forward(pool) for _ in range(2)] == [OK, OK]
    assert (len(bad.calls), len(good.calls)) == (1, 2)
    assert retries == {("p", "worker"): 1}


def test_a_connection_that_ended_is_no_reason_to_fail_when_there_is_no_other_endpoint() -> None:
    retries: Counter[tuple[str, str]] = Counter()
    channel = ScriptedChannel(not_taken(), OK)
    pool = a_pool([an_endpoint("a:1", READY, channel)], on_retry=lambda *reason: retries.update([reason]))
    assert forward(pool) == OK
    assert retries == {("p", "worker"): 1}
    always = ScriptedChannel(not_taken())
    with pytest.raises(GatewayError, match="broke off"):
        forward(a_pool([an_endpoint("a:1", READY, always)]))
    assert len(always.calls) == MAX_ATTEMPTS


def test_an_endpoint_that_cannot_be_reached_or_is_busy_is_not_asked_again() -> None:
    channel = ScriptedChannel(refused())
    with pytest.raises(GatewayError, match="gone"):
        forward(a_pool([an_endpoint("a:1", READY, channel)]))
    assert len(channel.calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        GatewayError(Code.UNAVAILABLE, "died while executing", fault=Fault.WORKER, executed=True),
        GatewayError(Code.INVALID_ARGUMENT, "wrong", fault=Fault.CLIENT, executed=False),
        GatewayError(Code.INTERNAL, "boom", fault=Fault.MODEL, executed=True),
    ],
)
def test_what_may_have_run_or_is_wrong_is_never_sent_twice(error: GatewayError) -> None:
    channels = [ScriptedChannel(error), ScriptedChannel(error)]
    pool = a_pool([an_endpoint(f"{name}:1", READY, channel) for name, channel in zip("ab", channels, strict=True)])
    with pytest.raises(GatewayError) as caught:
        forward(pool)
    assert caught.value is error
    assert sum(len(channel.calls) for channel in channels) == 1


def test_attempts_are_bounded() -> None:
    channels = [ScriptedChannel(refused()) for _ in range(10)]
    pool = a_pool([an_endpoint(f"h{number}:1", READY, channel) for number, channel in enumerate(channels)])
    with pytest.raises(GatewayError, match="gone"):
        forward(pool)
    assert sum(len(channel.calls) for channel in channels) == MAX_ATTEMPTS


@pytest.mark.parametrize("end", ["ok", "error", "cancelled"])
def test_in_flight_is_given_back_whatever_ends_the_call(end: str) -> None:
    class Waits(ScriptedChannel):
        async def unary(self, call):  # type: ignore[no-untyped-def]
            assert endpoint.in_flight == 1
            if end == "cancelled":
                await asyncio.sleep(60)
            return await super().unary(call)

    endpoint = an_endpoint("a:1", READY, Waits(refused() if end == "error" else OK))

    async def run() -> None:
        task = asyncio.ensure_future(a_pool([endpoint]).forward(a_call()))
        await asyncio.sleep(0)
        if end == "cancelled":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert endpoint.in_flight == 0


def endpoints(count: int) -> tuple[Endpoint, ...]:
    return tuple(an_endpoint(f"host-{number}:8001", READY) for number in range(count))


def test_a_sequence_keeps_its_endpoint_and_sequences_spread() -> None:
    pool = a_pool(endpoints(4))
    homes = {str(number): pool.choose(a_call(sequence=str(number))) for number in range(400)}
    assert all(pool.choose(a_call(sequence=name)) is home for name, home in homes.items())
    shares = Counter(home.address for home in homes.values())
    assert min(shares.values()) > 60


def test_an_endpoint_that_leaves_moves_only_its_own_sequences() -> None:
    four = endpoints(4)
    for number in range(200):
        before = by_sequence(four, "m", str(number))
        after = by_sequence(four[:3], "m", str(number))
        assert after is before or before is four[3]


def test_models_on_the_same_endpoints_share_their_candidates() -> None:
    models = {f"m{number}": {"1": "READY"} for number in range(3)}
    pool = a_pool([an_endpoint("a:1", models), an_endpoint("b:1", models), an_endpoint("c:1", {"m0": {"1": "READY"}})])
    assert pool.candidates("m1", "") is pool.candidates("m2", "1")
    assert len(pool.candidates("m0", "")) == 3


def test_the_same_endpoints_stay_the_same_tuple_until_a_weight_changes() -> None:
    one, other = an_endpoint("a:1", READY), an_endpoint("b:1", READY)
    pool = a_pool([one, other])
    both = pool.candidates("m", "")
    one.live = False
    pool.changed()
    assert pool.candidates("m", "") == (other,)
    one.live = True
    pool.changed()
    assert pool.candidates("m", "") is both
    one.weight = 2.0
    pool.changed()
    assert pool.candidates("m", "") is not both
    assert pool.candidates("m", "") == both


def test_who_is_passed_over_is_asked_only_while_somebody_is() -> None:
    class Health:
        out = 0
        asked = 0

        def passable(self, candidates: tuple[Endpoint, ...], model: str, version: str) -> tuple[Endpoint, ...]:
            self.asked += 1
            return tuple(endpoint for endpoint in candidates if endpoint.address != "a:1")

    pool, health = a_pool([an_endpoint("a:1", READY), an_endpoint("b:1", READY)]), Health()
    pool.health = health
    assert {pool.choose(a_call()).address for _ in range(4)} == {"a:1", "b:1"}
    assert health.asked == 0
    health.out = 1
    assert {pool.choose(a_call()).address for _ in range(4)} == {"b:1"}
