"""Who may take a call, what happens when nobody may, and what may be sent to another endpoint."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from config.pools import Outliers
from routing.budget import TAU
from routing.connectors.outcome import AllBroken, NoOther, absent, broken, from_status
from routing.pool import BUSY_MINIMUM, BUSY_SHARE, MAX_ATTEMPTS, REMEMBERED_CANDIDATES, Pool
from tests.support.clock import Clock
from tests.support.pools import OK, ScriptedChannel, State, a_call, a_pool, an_endpoint
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


class TestFailedLoads:
    """A model that did not load is not one that nobody loaded: its users are told why."""

    BROKEN = State("UNAVAILABLE", "Internal: no module\nnamed 'x'")
    IDLE = State("UNAVAILABLE", "unloaded")

    @staticmethod
    def why(*versions: dict[str, State], version: str = "") -> GatewayError:
        endpoints = [an_endpoint(f"{place}:1", {}) for place in range(len(versions))]
        for endpoint, each in zip(endpoints, versions, strict=True):
            endpoint.inventory = {"m": each}
        with pytest.raises(GatewayError) as caught:
            forward(a_pool(endpoints), version=version)
        assert absent(caught.value)
        return caught.value

    @pytest.mark.parametrize("version", ["", "1"])
    def test_the_reason_is_told(self, version: str) -> None:
        for versions in ({"1": self.BROKEN}, {"1": self.BROKEN, "2": self.IDLE}):
            error = self.why({}, versions, version=version)
            assert (error.code, error.message) == (
                Code.UNAVAILABLE,
                "model 'm' does not load: Internal: no module named 'x'",
            )

    def test_not_beside_one_that_loads_or_of_another_version(self) -> None:
        loading = State("LOADING")
        assert self.why({"1": self.BROKEN}, {"1": loading}).message == "model 'm' is loading"
        assert "not at ready" in self.why({"1": self.BROKEN, "2": self.IDLE}, version="2").message

    def test_one_that_was_unloaded_did_not_fail(self) -> None:
        assert self.why({"1": self.IDLE}).code is Code.NOT_FOUND


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
        on_retry=lambda *route_reason: retries.update([route_reason]),
    )
    assert [forward(pool) for _ in range(2)] == [OK, OK]
    assert (len(bad.calls), len(good.calls)) == (1, 2)
    assert retries == {("", "worker"): 1}


def test_a_connection_that_ended_is_no_reason_to_fail_when_there_is_no_other_endpoint() -> None:
    retries: Counter[tuple[str, str]] = Counter()
    channel = ScriptedChannel(not_taken(), OK)
    pool = a_pool([an_endpoint("a:1", READY, channel)], on_retry=lambda *route_reason: retries.update([route_reason]))
    assert forward(pool) == OK
    assert retries == {("", "worker"): 1}
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


BOOM = from_status(13, "boom")
FULL = from_status(14, "Exceeds maximum queue size")


def fails(pool: Pool, times: int = 1, **call: str) -> list[str]:
    """What so many calls said, "" for a good answer."""
    said = []
    for _ in range(times):
        try:
            forward(pool, **call)
            said.append("")
        except GatewayError as error:
            said.append(error.message)
    return said


def test_an_endpoint_whose_model_fails_is_passed_over_until_a_probe_succeeds() -> None:
    clock = Clock()
    bad, good = ScriptedChannel(*[BOOM] * 5, OK), ScriptedChannel()
    pool = a_pool([an_endpoint("a:1", READY, bad), an_endpoint("b:1", READY, good)], clock=clock)
    assert fails(pool, 10).count("boom") == 5
    assert fails(pool, 10) == [""] * 10
    assert len(bad.calls) == 5
    clock.now += 5
    assert fails(pool, 10) == [""] * 10
    assert len(bad.calls) > 6
    assert pool.health.out == 0


def test_a_failed_probe_costs_one_request_and_only_one_at_a_time_tries() -> None:
    clock = Clock()

    class Slow(ScriptedChannel):
        async def unary(self, call):  # type: ignore[no-untyped-def]
            self.calls.append(call)
            await asyncio.sleep(0.01)
            raise BOOM

    bad, good = Slow(), ScriptedChannel()
    pool = a_pool([an_endpoint("a:1", READY, bad), an_endpoint("b:1", READY, good)], clock=clock)
    fails(pool, 10)
    clock.now += 5

    async def run() -> list[object]:
        return await asyncio.gather(*(pool.forward(a_call()) for _ in range(20)), return_exceptions=True)

    assert sum(isinstance(end, GatewayError) for end in asyncio.run(run())) == 1
    assert len(bad.calls) == 6


def test_broken_is_its_own_answer_and_is_not_said_of_a_model_that_is_not_loaded() -> None:
    outliers = Outliers(consecutive=1, max_ejected=1.0, panic=0.0)
    pool = a_pool([an_endpoint("a:1", READY, ScriptedChannel(BOOM))], outliers=outliers)
    assert fails(pool, 2) == ["boom", "no endpoint of pool 'p' is fit for model 'm': calls to all of them failed"]
    assert fails(pool, 1, model="other") == ["Request for unknown model: 'other' is not found"]
    with pytest.raises(AllBroken) as caught:
        forward(pool)
    assert not caught.value.executed
    assert 4.5 < (caught.value.retry_after or 0) <= 5.0


def test_an_endpoint_that_was_tried_is_not_asked_again() -> None:
    pool = a_pool([an_endpoint("a:1", READY)])
    call = a_call()
    call.tried = pool.endpoints
    with pytest.raises(NoOther):
        asyncio.run(pool.forward(call))


def test_full_queues_are_not_stormed() -> None:
    channels = [ScriptedChannel(FULL) for _ in range(3)]
    pool = a_pool([an_endpoint(f"h{n}:1", READY, channel) for n, channel in enumerate(channels)], clock=Clock())
    assert fails(pool, 1000) == [FULL.message] * 1000
    assert sum(len(channel.calls) for channel in channels) <= 1000 * (1 + BUSY_SHARE) + BUSY_MINIMUM * TAU
    assert pool.health.watched == 0


def test_attempts_and_deaths_are_counted() -> None:
    call = a_call()
    gone = broken("a:1", ErrorCode.INTERNAL_ERROR, executed=True)
    pool = a_pool(
        [an_endpoint("a:1", READY, ScriptedChannel(refused())), an_endpoint("b:1", READY, ScriptedChannel(gone))],
        "first",
    )
    with pytest.raises(GatewayError, match="broke off"):
        asyncio.run(pool.forward(call))
    assert (call.attempts, call.deaths) == (2, 1)


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
    outliers = Outliers(consecutive=1, max_ejected=1.0, panic=0.0)
    pool = a_pool([an_endpoint("a:1", READY), an_endpoint("b:1", READY)], outliers=outliers)
    assert {pool.choose(a_call()).address for _ in range(4)} == {"a:1", "b:1"}
    assert not pool.health._passable
    first, _ = pool.endpoints
    pool.health.failed(a_call(), first, broken("a:1", 2, executed=True), pool.endpoints)
    assert {pool.choose(a_call()).address for _ in range(4)} == {"b:1"}
    assert pool.health._passable
