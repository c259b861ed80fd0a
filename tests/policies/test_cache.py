"""What is answered from the cache, for whom, for how long, and what becomes of those that ask at the same time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from policies.cache import Policy, Spec
from routing.call import Call
from routing.identity import Identity
from tests.support.asking import Model, a_cache, a_request, asks, endpoint, what
from tests.support.clock import Clock
from tests.support.policies import some_services
from tests.support.pools import OK, State
from transcoding.message import RequestedOutput, Tensor
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError, invalid


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_the_same_is_computed_once_and_each_caller_has_his_own_id() -> None:
    async def scenario() -> None:
        it = a_cache()
        first, second = asks(a_request(1, 2, id="one")), asks(a_request(1, 2, id="two"), over_grpc=True)
        assert (await it.ask(first)).id == "one"
        reply = await it.ask(second)
        assert reply.id == "two"
        assert reply.outputs == it.model.outputs
        assert (await it.ask(asks(a_request(1, 2)))).id == ""
        assert [what(first), what(second)] == ["miss", "hit"]
        assert dict(second.told or ())[b"age"] == b"0"
        assert await it.told(asks(a_request(1, 3))) == "miss"
        assert len(it.model.calls) == 2
        assert (it.counted("hit"), it.counted("miss")) == (2, 2)
        assert it.gauges["penstock_cache_entries",] == 2
        assert it.gauges["penstock_cache_bytes",] > 0

    run(scenario)


def test_many_spellings_of_a_question_have_one_answer() -> None:
    async def scenario() -> None:
        it = a_cache()
        spellings = [a_request(1, parameters={"priority": number}, id=f"{number}") for number in range(5)]
        for number, request in enumerate([*spellings, *spellings]):
            call = asks(request, over_grpc=True)
            assert (await it.ask(call)).id == request.id
            assert what(call) == ("hit" if number else "miss")
            assert (call.infer is None) is (number >= 5), "bytes that were seen before are not read again"

    run(scenario)


def test_a_version_by_number_is_the_same_as_the_latest_by_default() -> None:
    async def scenario() -> None:
        it = a_cache(endpoint(v1="READY", v2="READY"), model=Model("2"))
        assert await it.told(asks(a_request(1))) == "miss"
        assert await it.told(asks(a_request(1, version="2"))) == "hit"
        assert await it.told(asks(a_request(1, version="1"))) == "miss"

    run(scenario)


def test_tenants_and_principals_share_nothing_unless_told_to() -> None:
    async def asked(scope: str) -> list[str]:
        it = a_cache(scope=scope)
        callers = [
            Identity("ann", "acme"),
            Identity("bob", "acme"),
            Identity("eve", "other"),
            Identity("acme"),
            Identity("ann"),
            Identity(),
            Identity(),
        ]
        return [await it.told(asks(a_request(1), caller=caller)) for caller in callers]

    async def scenario() -> None:
        assert await asked("tenant") == ["miss", "hit", "miss", "miss", "miss", "miss", "hit"]
        assert await asked("principal") == ["miss", "miss", "miss", "miss", "hit", "miss", "hit"]
        assert await asked("shared") == ["miss", *["hit"] * 6]

    run(scenario)


def test_what_is_never_kept_passes() -> None:
    in_memory = Tensor("A", "INT32", (1,), None, {"shared_memory_region": "r"})
    wanted = RequestedOutput("OUT", {"shared_memory_region": "r"})

    async def scenario() -> None:
        it = a_cache(max_request=100)
        stream = asks(a_request(1))
        stream.method = BY_NAME["ModelStreamInfer"]
        calls = [
            stream,
            asks(a_request(1), sequence="7"),
            asks(a_request(1, inputs=[in_memory])),
            asks(a_request(1, outputs=[wanted])),
            asks(a_request(*range(26))),
            asks(a_request(1, model="unknown")),
            asks(a_request(1), control="no-store"),
        ]
        for call in [*calls, *calls]:
            assert await it.told(call) == "bypass"
        assert len(it.model.calls) == 2 * len(calls)
        assert it.counted("bypass") == 2 * len(calls)
        assert await it.told(asks(a_request(1))) == "miss", "nothing was kept"

    run(scenario)


def test_only_models_that_are_meant() -> None:
    async def scenario() -> None:
        it = a_cache(models=("resnet*",))
        assert [await it.told(asks(a_request(1))) for _ in range(2)] == ["bypass", "bypass"]
        it = a_cache(models=("m", "n"))
        assert [await it.told(asks(a_request(1))) for _ in range(2)] == ["miss", "hit"]

    run(scenario)


def test_endpoints_that_would_answer_differently_are_not_cached() -> None:
    async def scenario() -> None:
        it = a_cache(endpoint("a:1", v1="READY"), endpoint("b:1", v1="READY", v2="READY"))
        assert [await it.told(asks(a_request(1))) for _ in range(2)] == ["bypass", "bypass"]
        assert [await it.told(asks(a_request(1, version="1"))) for _ in range(2)] == ["miss", "hit"]
        unknown = endpoint("c:1")
        unknown.known = False
        it = a_cache(endpoint(), unknown)
        assert [await it.told(asks(a_request(1))) for _ in range(2)] == ["bypass", "bypass"]

    run(scenario)


def test_an_answer_of_another_version_or_place_is_not_kept() -> None:
    async def scenario() -> None:
        it = a_cache(model=Model("3"))
        assert [await it.told(asks(a_request(1))) for _ in range(2)] == ["miss", "miss"]
        it = a_cache()
        model = it.model

        async def fallback(call: Call) -> object:
            call.variant = "fallback"
            return await model(call)

        it.model = fallback  # type: ignore[assignment]
        assert [await it.told(asks(a_request(1))) for _ in range(2)] == ["miss", "miss"]

    run(scenario)


@pytest.mark.parametrize("error", [invalid("no"), GatewayError(Code.UNAVAILABLE, "gone", fault=Fault.WORKER)])
def test_errors_are_not_kept(error: GatewayError) -> None:
    async def scenario() -> None:
        it = a_cache()
        it.model.error = error
        for _ in range(2):
            with pytest.raises(GatewayError) as caught:
                await it.ask(asks(a_request(1)))
            assert caught.value is error
        it.model.error = None
        assert await it.told(asks(a_request(1))) == "miss"
        assert len(it.model.calls) == 3

    run(scenario)


def test_a_reply_that_is_too_large_or_no_message_is_given_and_not_kept() -> None:
    async def scenario() -> None:
        it = a_cache(max_reply=50)
        it.model.outputs = [Tensor("OUT", "UINT8", (100,), os.urandom(100))]
        assert [await it.told(asks(a_request(1))) for _ in range(2)] == ["miss", "miss"]
        it = a_cache()
        it.model = None  # type: ignore[assignment]

        async def broken(call: Call) -> object:
            from routing.call import Reply

            return Reply(b"\0\0\0\0\x02\x0a\x09")

        for _ in range(2):
            call = asks(a_request(1))
            assert bytes((await it.place(call, broken)).framed) == b"\0\0\0\0\x02\x0a\x09"  # type: ignore[arg-type]
            assert what(call) == "miss"

    run(scenario)


def test_headers_that_the_model_sees_may_be_part_of_the_question() -> None:
    async def scenario() -> None:
        it = a_cache(vary=("X-Language",))

        async def told(language: str | None) -> str:
            call = asks(a_request(1))
            assert call.view is not None
            if language is not None:
                call.view.headers[b"x-language"] = language.encode()
            return await it.told(call)

        assert [await told(each) for each in ("de", "en", "de", None, "", None)] == [
            *("miss", "miss", "hit", "miss", "miss", "hit")
        ]

    run(scenario)


# time -----------------------------------------------------------------------------------------------------------------


def test_an_answer_ages_goes_stale_and_is_got_anew_behind_the_clients_back() -> None:
    async def scenario() -> None:
        clock = Clock()
        it = a_cache(ttl=10.0, stale=5.0, clock=clock)
        assert await it.told(asks(a_request(1))) == "miss"
        clock.now += 9.5
        aged = asks(a_request(1))
        assert await it.told(aged) == "hit"
        assert dict(aged.told or ())[b"age"] == b"9"
        clock.now += 1
        it.model.gate.clear()
        stale = [asks(a_request(1)) for _ in range(5)]
        assert [await it.told(call) for call in stale] == ["stale"] * 5
        await asyncio.sleep(0.01)
        assert len(it.model.calls) == 2, "one gets it anew"
        assert it.model.calls[1] is not stale[0]
        it.model.gate.set()
        await asyncio.sleep(0.01)
        assert await it.told(asks(a_request(1))) == "hit"
        clock.now += 15.5
        assert await it.told(asks(a_request(1))) == "miss"
        assert it.policy.refreshing == 0
        assert it.counts["penstock_cache_refreshes_total", "ok"] == 1

    run(scenario)


def test_a_refresh_that_fails_leaves_the_stale_answer() -> None:
    async def scenario() -> None:
        clock = Clock()
        it = a_cache(ttl=10.0, stale=50.0, clock=clock)
        await it.told(asks(a_request(1)))
        clock.now += 11
        it.model.error = GatewayError(Code.UNAVAILABLE, "gone", fault=Fault.WORKER)
        for _ in range(3):
            assert await it.told(asks(a_request(1))) == "stale"
            await asyncio.sleep(0.01)
        assert it.counts["penstock_cache_refreshes_total", "failed"] == 3
        assert it.policy.refreshing == 0
        assert len(it.policy.flights) == 0

    run(scenario)


def test_lives_differ_at_random_by_the_jitter() -> None:
    async def scenario() -> None:
        it = a_cache(ttl=100.0, jitter=0.2)
        for number in range(50):
            await it.ask(asks(a_request(number)))
        lives = [answer.fresh for answer, _ in it.policy.answers._kept._values.values()]
        assert len(set(lives)) == 50
        assert 80 <= min(lives) < 85
        assert 95 < max(lives) <= 100

    run(scenario)


def test_what_a_client_asks_of_the_cache() -> None:
    async def scenario() -> None:
        clock = Clock()
        it = a_cache(ttl=100.0, clock=clock)
        with pytest.raises(GatewayError, match="no answer to this is in the cache") as caught:
            await it.ask(asks(a_request(1), control="only-if-cached"))
        assert (caught.value.code, caught.value.http_status) == (Code.FAILED_PRECONDITION, 504)
        assert not it.model.calls
        assert await it.told(asks(a_request(1), control="no-cache")) == "miss"
        assert await it.told(asks(a_request(1), control="only-if-cached")) == "hit"
        assert await it.told(asks(a_request(1), control="no-cache")) == "miss"
        clock.now += 20
        assert await it.told(asks(a_request(1), control="max-age=20")) == "hit"
        assert await it.told(asks(a_request(1), control="max-age=19")) == "miss"
        assert await it.told(asks(a_request(1), control="max-age=5")) == "hit"
        assert await it.told(asks(a_request(2), control="no-store")) == "bypass"
        assert await it.told(asks(a_request(2))) == "miss"
        with pytest.raises(GatewayError, match="no answer"):
            await it.ask(asks(a_request(1), control="only-if-cached", sequence="7"))

    run(scenario)


def test_clients_may_have_no_say() -> None:
    async def scenario() -> None:
        it = a_cache(client_control=False)
        assert await it.told(asks(a_request(1), control="no-store")) == "miss"
        assert await it.told(asks(a_request(1), control="no-cache, max-age=0")) == "hit"

    run(scenario)


# loads and purges -----------------------------------------------------------------------------------------------------


def test_a_model_that_is_loaded_again_begins_anew() -> None:
    async def scenario() -> None:
        one, other = endpoint("a:1", 1), endpoint("b:1", 1)
        it = a_cache(one, other)
        assert await it.told(asks(a_request(1))) == "miss"
        other.live = False
        it.pool.changed()
        assert await it.told(asks(a_request(1))) == "hit", "one less is no other load"
        other.live = True
        it.pool.changed()
        assert await it.told(asks(a_request(1))) == "hit"
        other.inventory = {"m": {"1": State("READY", load=2)}}
        it.pool.changed()
        assert await it.told(asks(a_request(1))) == "miss"
        assert await it.told(asks(a_request(1))) == "hit"
        one.inventory = {"m": {"1": State("UNAVAILABLE")}}
        it.pool.changed()
        assert await it.told(asks(a_request(1))) == "hit"
        one.inventory = {"m": {"1": State("READY", load=3)}}
        it.pool.changed()
        assert await it.told(asks(a_request(1))) == "miss"

    run(scenario)


def test_an_answer_that_was_computed_before_a_load_or_purge_is_not_kept_after_it() -> None:
    async def scenario() -> None:
        one = endpoint()
        it = a_cache(one)

        def loaded() -> None:
            one.inventory = {"m": {"1": State("READY", load=2)}}
            it.pool.changed()
            it.place._served("m", "")

        for number, change in enumerate((loaded, lambda: it.policy.ledger.heard(b"purge 1 everything"))):
            it.model.gate.clear()
            early = asyncio.ensure_future(it.told(asks(a_request(number))))
            await asyncio.sleep(0)
            change()
            late = asyncio.ensure_future(it.told(asks(a_request(number))))
            await asyncio.sleep(0)
            it.model.gate.set()
            assert [await early, await late] == ["miss", "miss"], "who asks after it does not wait for who asked before"
            assert await it.told(asks(a_request(number))) == "hit", "the later one was kept"

    run(scenario)


def test_a_large_request_is_digested_beside_the_loop() -> None:
    async def scenario() -> None:
        it = a_cache()
        data = os.urandom(300_000)
        large = [Tensor("A", "UINT8", (len(data),), memoryview(data))]
        assert await it.told(asks(a_request(inputs=large))) == "miss"
        assert await it.told(asks(a_request(inputs=large), over_grpc=True)) == "hit"

    run(scenario)


def test_memory_is_bounded() -> None:
    async def scenario() -> None:
        it = a_cache(memory=20_000)
        for number in range(100):
            await it.ask(asks(a_request(number)))
        assert 10_000 < it.gauges["penstock_cache_bytes",] <= 20_000
        assert it.counts["penstock_cache_evictions_total",] > 0
        assert await it.told(asks(a_request(99))) == "hit"
        assert await it.told(asks(a_request(0))) == "miss"

    run(scenario)


def test_a_policy_that_is_not_in_front_of_a_pool_passes_everything() -> None:
    async def scenario() -> None:
        policy, model = Policy(Spec(), some_services()), Model()
        for _ in range(2):
            call = asks(a_request(1))
            await policy(call, model)
            assert call.told is None
        assert len(model.calls) == 2

    run(scenario)


def test_options() -> None:
    assert msgspec.convert({"ttl": 5.0, "models": ["a*"]}, Spec) == Spec(ttl=5.0, models=("a*",))
    assert Policy(Spec(), some_services()).needs_body
    assert len(OK) == 5
