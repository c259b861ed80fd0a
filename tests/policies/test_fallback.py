"""What goes to the other place, as what it goes there, and what the client hears when that has nothing either."""

from __future__ import annotations

import asyncio

import pytest

from config.routes import Target
from policies.fallback import Policy, Spec, Why, why
from routing.call import Call, Reply
from routing.connectors.outcome import AllBroken, Expired, broken, from_status
from routing.pool import Pool
from tests.support.policies import Counts, a_stream, some_services
from tests.support.pools import OK, ScriptedChannel, a_call, a_pool, an_endpoint
from transcoding.dialects.oip_grpc import encode_request, scan_request
from transcoding.grpc_framing import encode_message
from transcoding.message import InferRequest
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError, invalid

READY = {"m": {"1": "READY"}}
OTHER = {"m": {"1": "READY"}, "small": {"3": "READY"}}
LOADING = {"m": {"1": "LOADING"}}
BOOM = from_status(13, "boom")
FULL = from_status(14, "Exceeds maximum queue size")


def an_inference(version: str = "") -> Call:
    message = encode_message(encode_request(InferRequest("m", version)))
    return Call(BY_NAME["ModelInfer"], "m", version, (message[:3], message[3:]))


class Fixture:
    """A policy around a first pool, with another one to fall back on."""

    def __init__(self, first: Pool, *answers: GatewayError | bytes, spec: Spec | None = None) -> None:
        self.counts, self.first = Counts(), first
        self.channel = ScriptedChannel(*answers)
        self.other = a_pool([an_endpoint("z:1", OTHER, self.channel)], name="other")
        services = some_services(self.counts, pools={"other": self.other}, version_of=self.version_of)
        self.policy = Policy(spec or Spec(Target("other")), services)

    @staticmethod
    def version_of(target: Target, model: str) -> str:
        return {"latest": "3"}.get(target.version or "", target.version or "")

    def ask(self, call: Call) -> Reply:
        return asyncio.run(self.policy(call, self.first.forward))


def dead() -> Pool:
    endpoint = an_endpoint("a:1", READY)
    endpoint.live = False
    return a_pool([endpoint])


def a_pool_of(*answers: GatewayError | bytes) -> Pool:
    return a_pool([an_endpoint("a:1", READY, ScriptedChannel(*answers))])


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (dead(), "unavailable"),
        (a_pool([an_endpoint("a:1", LOADING)]), "not_ready"),
        (a_pool([an_endpoint("a:1", {})]), "not_ready"),
    ],
    ids=["dead", "loading", "unknown"],
)
def test_a_pool_with_nothing_to_offer_is_stood_in_for(first: Pool, reason: str) -> None:
    world, call = Fixture(first), a_call()
    assert bytes(world.ask(call).framed) == OK
    assert call.variant == "fallback"
    assert world.counts.all() == {("penstock_fallbacks_total", "", reason): 1}


def test_a_good_answer_stays() -> None:
    world, call = Fixture(a_pool_of(OK)), a_call()
    world.ask(call)
    assert (call.variant, world.channel.calls) == ("", [])


@pytest.mark.parametrize("error", [invalid("wrong"), BOOM, FULL, Expired(5.0)], ids=repr)
def test_what_is_not_named_stays(error: GatewayError) -> None:
    world = Fixture(a_pool_of(error))
    with pytest.raises(GatewayError) as caught:
        world.ask(a_call())
    assert caught.value is error
    assert world.channel.calls == []


def test_full_queues_are_a_reason_where_that_is_asked_for() -> None:
    world = Fixture(a_pool_of(FULL), spec=Spec(Target("other"), when=("overloaded",)))
    assert bytes(world.ask(a_call()).framed) == OK


@pytest.mark.parametrize(
    ("error", "idempotent", "reason"),
    [
        (AllBroken(Code.UNAVAILABLE, "all failed", fault=Fault.WORKER), False, "broken"),
        (BOOM, False, None),
        (BOOM, True, "broken"),
        (broken("a:1", 2, executed=True), True, "broken"),
        (broken("a:1", 2, executed=False), False, "unavailable"),
        (from_status(14, "Request for unknown model: 'm' version 1 is not at ready state"), False, "not_ready"),
        (from_status(5, "not found, says the model"), False, None),
        (GatewayError(Code.INTERNAL, "ours", fault=Fault.GATEWAY), True, None),
    ],
    ids=repr,
)
def test_each_error_is_one_reason_or_none(error: GatewayError, idempotent: bool, reason: Why | None) -> None:
    call = a_call()
    call.idempotent = idempotent
    assert why(call, error) == reason
    assert why(a_call(sequence="7"), error) is None


def test_a_request_that_killed_two_endpoints_is_not_taken_to_another_pool() -> None:
    call = a_call()
    call.idempotent, call.deaths = True, 2
    assert why(call, broken("a:1", 2, executed=True)) is None


def test_model_and_version_are_those_of_the_fallback_also_in_the_message() -> None:
    spec = Spec(Target("other", model="small", version="latest"), name="spare")
    world, call = Fixture(dead(), spec=spec), an_inference("1")
    world.ask(call)
    envelope = scan_request(b"".join(call.message)[5:])
    assert (call.model, call.version, call.variant) == ("small", "3", "spare")
    assert (envelope.model, envelope.version) == ("small", "3")
    assert int.from_bytes(b"".join(call.message)[1:5], "big") == len(b"".join(call.message)) - 5


def test_the_version_that_was_asked_for_stays_if_the_fallback_names_none() -> None:
    world, call = Fixture(dead()), an_inference("1")
    before = call.message
    world.ask(call)
    assert (call.version, call.message) == ("1", before)


@pytest.mark.parametrize(("failure", "heard"), [(FULL, "no endpoint of pool 'p' is live"), (BOOM, "boom")], ids=repr)
def test_the_first_error_is_told_unless_the_fallback_ran_the_call(failure: GatewayError, heard: str) -> None:
    with pytest.raises(GatewayError, match=heard):
        Fixture(dead(), failure).ask(a_call())


def test_endpoints_that_had_the_call_may_have_it_as_another_model() -> None:
    call = a_call()
    world = Fixture(dead())
    call.tried = world.other.endpoints
    assert bytes(world.ask(call).framed) == OK


def test_nothing_goes_to_the_other_place_when_the_time_is_over() -> None:
    world, call = Fixture(dead()), a_call()
    call.deadline = 0.0
    with pytest.raises(GatewayError, match="no endpoint of pool 'p' is live"):
        world.ask(call)
    assert (world.channel.calls, call.variant, world.counts.all()) == ([], "", {})


@pytest.mark.parametrize(("failure", "variant"), [(FULL, "first"), (BOOM, "fallback")], ids=repr)
def test_the_variant_is_that_of_the_answer(failure: GatewayError, variant: str) -> None:
    call = a_call()
    call.variant = "first"
    with pytest.raises(GatewayError):
        Fixture(dead(), failure).ask(call)
    assert call.variant == variant


@pytest.mark.parametrize("spent", [False, True])
def test_a_stream_goes_there_unless_its_client_heard_something(spent: bool) -> None:
    async def main() -> None:
        world, call = Fixture(dead()), a_stream()
        assert call.exchange is not None
        call.exchange.spent = spent
        await world.policy(call, world.first.forward)
        assert call.endpoint is world.other.endpoints[0]
        assert world.channel.calls == [call]

    if spent:
        with pytest.raises(GatewayError, match="no endpoint"):
            asyncio.run(main())
    else:
        asyncio.run(main())


def test_what_must_not_be_sent_there_is_refused_there() -> None:
    asked = []

    async def prepare(pool: Pool, call: Call) -> None:
        asked.append((pool.name, call.model, call.version))
        if pool.name == "other":
            raise invalid("not there")

    spec = Spec(Target("other", model="small", version="latest"))
    world, call = Fixture(dead(), spec=spec), an_inference("1")
    call.prepare = prepare
    with pytest.raises(GatewayError, match="no endpoint"):
        world.ask(call)
    assert asked == [("p", "m", "1"), ("other", "small", "3")]
    assert world.channel.calls == []
