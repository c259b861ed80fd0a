"""Keys open for those who have all of them, and nothing is told to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from policies.api_key import NOT_VALID, WHY_NOT, Policy, Spec
from routing.authentication import Authenticator
from routing.call import Call
from routing.identity import Identity
from state.keys import PREFIX, KeyRecord, Keys, Minted, mint
from tests.support.callers import Wall, a_call_with, caller_of, challenge_of, refusal_of, spec_of
from tests.support.policies import Counts, some_services
from transcoding.http2.fragment import fields
from transcoding.http2.hpack import encode
from transcoding.status import Code, GatewayError

NOW = 1_800_000_000.0


class World:
    """A policy, and the keys that there are."""

    def __init__(self, **options: object) -> None:
        self.wall, self.counts, self.keys = Wall(NOW), Counts(), Keys({})
        services = replace(some_services(self.counts), wall=self.wall, keys=self.keys)
        self.policy = Policy(spec_of(Spec, **options), services)

    def key(self, principal: str = "alice", **more: object) -> Minted:
        minted = mint()
        self.keys.records[minted.id] = KeyRecord(minted.id, minted.digest, principal, **more)  # type: ignore[arg-type]
        return minted


def bearer(text: str, scheme: str = "Bearer") -> Call:
    return a_call_with({"authorization": f"{scheme} {text}"})


def test_a_key_says_all_of_its_owner() -> None:
    world = World()
    key = world.key(tenant="acme", scopes=("infer", "gpu"), limits={"per_user": "5/s"})
    for scheme in ("Bearer", "bearer", "BEARER "):
        caller = caller_of(world.policy, bearer(key.text, scheme))
        assert caller == Identity("alice", "acme", frozenset({"infer", "gpu"}), "api_key", key.id, {"per_user": "5/s"})


def test_several_keys_of_one_principal_overlap() -> None:
    world = World()
    old, new = world.key(), world.key()
    assert caller_of(world.policy, bearer(old.text)).principal == "alice"
    assert caller_of(world.policy, bearer(new.text)).principal == "alice"
    world.keys.records[old.id] = msgspec.structs.replace(world.keys.records[old.id], revoked=NOW)
    assert refusal_of(world.policy, bearer(old.text)).message == WHY_NOT["revoked"]
    assert caller_of(world.policy, bearer(new.text)).principal == "alice"


def test_a_record_that_changed_is_another_caller_at_once() -> None:
    world = World()
    key = world.key(tenant="acme")
    assert caller_of(world.policy, bearer(key.text)).tenant == "acme"
    world.keys.records[key.id] = msgspec.structs.replace(world.keys.records[key.id], tenant="other")
    assert caller_of(world.policy, bearer(key.text)).tenant == "other"


def other_secret(world: World, key: Minted) -> str:
    """A well written key with the id of one that there is."""
    return _checked(f"{PREFIX}_{key.id}_{mint().text.split('_')[2]}")


def unknown(world: World, key: Minted) -> str:
    return mint().text


def short(world: World, key: Minted) -> str:
    return key.text[:-1]


def slip(world: World, key: Minted) -> str:
    return key.text[:40] + ("A" if key.text[40] != "A" else "B") + key.text[41:]


def _checked(head: str) -> str:
    from state.keys import _check

    return f"{head}_{_check(head)}"


@pytest.mark.parametrize("wrong", [other_secret, unknown, short, slip], ids=lambda each: each.__name__)
@pytest.mark.parametrize("more", [{}, {"expires": NOW - 1}, {"revoked": NOW - 1}], ids=["good", "expired", "revoked"])
def test_whoever_has_not_the_secret_hears_the_same(
    wrong: Callable[[World, Minted], str], more: dict[str, float]
) -> None:
    world = World()
    key = world.key(**more)
    refused = refusal_of(world.policy, bearer(wrong(world, key)))
    assert (refused.code, refused.http_status, refused.message) == (Code.UNAUTHENTICATED, 401, NOT_VALID)
    assert challenge_of(refused) == (f'Bearer realm="penstock", error="invalid_token", error_description="{NOT_VALID}"')


@pytest.mark.parametrize(
    ("more", "standing"),
    [({"expires": NOW}, "expired"), ({"not_before": NOW + 1}, "early"), ({"revoked": NOW - 5}, "revoked")],
)
def test_whoever_has_all_of_it_is_told_why_not(more: dict[str, float], standing: str) -> None:
    world = World()
    refused = refusal_of(world.policy, bearer(world.key(**more).text))
    assert refused.message == WHY_NOT[standing]  # type: ignore[index]
    assert world.counts[("penstock_unauthenticated_total", "api_key", standing)] == 1


def test_keys_come_into_force_and_expire_while_the_gateway_runs() -> None:
    world = World()
    key = world.key(not_before=NOW + 10, expires=NOW + 20)
    for seconds, good in ((9, False), (11, True), (19, True), (20, False)):
        world.wall.now = NOW + seconds
        if good:
            assert caller_of(world.policy, bearer(key.text)).principal == "alice"
        else:
            refusal_of(world.policy, bearer(key.text))


def test_without_a_key_the_answer_says_what_to_do() -> None:
    refused = refusal_of(World(realm="gpus").policy, a_call_with())
    assert refused.message == "an API key is required, as Authorization: Bearer"
    assert challenge_of(refused) == 'Bearer realm="gpus"'


@pytest.mark.parametrize("value", ["Bearer e.y.j", "Bearer ", "Basic eDp5", "psk_"])
def test_what_is_no_key_is_refused_by_the_last(value: str) -> None:
    refused = refusal_of(World().policy, a_call_with({"authorization": value}))
    assert refused.message == NOT_VALID


def test_a_bearer_token_of_another_kind_is_left_to_others() -> None:
    class Taker(Authenticator):
        async def identify(self, call: Call) -> Identity | None:
            return Identity("taken")

    world = World()
    assert caller_of([world.policy, Taker()], bearer("e.y.j")).principal == "taken"
    assert refusal_of([world.policy, Taker()], bearer("psk_typo")).message == NOT_VALID


def test_i5_two_keys_at_once_are_none() -> None:
    world = World()
    key = world.key()
    for value in (f"{key.text}, Bearer {key.text}", f"{key.text},{key.text}", f"{key.text} {key.text}"):
        assert refusal_of(world.policy, bearer(value)).message == NOT_VALID


@pytest.mark.parametrize(
    "text",
    ["psk_';DROP TABLE keys;--", "psk_\r\nx: y", "psk_{redis.call('FLUSHALL')}", "psk_" + "\xff" * 63, "psk_" * 99],
)
def test_i7_metacharacters_are_inert(text: str) -> None:
    assert refusal_of(World().policy, bearer(text)).message == NOT_VALID


def test_while_no_keys_were_read_nobody_is_called_wrong() -> None:
    world = World()
    world.keys.known = False
    refused = refusal_of(world.policy, bearer(mint().text))
    assert (refused.code, refused.http_status, refused.retry_after) == (Code.UNAVAILABLE, 503, 1.0)


class TestOwnHeader:
    """A key in a header of its own."""

    def test_it_is_taken_from_there_only(self) -> None:
        world = World(header="X-API-Key")
        key = world.key()
        assert caller_of(world.policy, a_call_with({"x-api-key": key.text})).principal == "alice"
        refused = refusal_of(world.policy, bearer(key.text))
        assert refused.message == "an API key is required, in the header x-api-key"
        assert challenge_of(refused) == 'ApiKey realm="penstock", header="X-API-Key"'

    @pytest.mark.parametrize("name", ["x_api_key", "x-api_key", "apikey", "x-api-key-2"])
    def test_other_names_are_not_it(self, name: str) -> None:
        world = World(header="x-api-key")
        refusal_of(world.policy, a_call_with({name: world.key().text}))

    def test_anything_in_it_is_a_key_or_wrong(self) -> None:
        refused = refusal_of(World(header="x-api-key").policy, a_call_with({"x-api-key": "", "authorization": "x"}))
        assert refused.message == NOT_VALID

    def test_it_goes_no_further_though_the_listener_would_forward_it(self) -> None:
        world = World(header="x-api-key")
        key = world.key()
        call = a_call_with({"x-api-key": key.text}, {"x-request-id": "7", "x-api-key": key.text})
        caller_of(world.policy, call)
        assert call.metadata == encode([(b"x-request-id", b"7")])

    def test_nor_when_it_is_refused_later_on(self) -> None:
        world = World(header="x-api-key")
        call = a_call_with({"x-api-key": "wrong"}, {"x-api-key": "wrong"})
        with pytest.raises(GatewayError):
            caller_of(world.policy, call)


@pytest.mark.parametrize(("header", "name"), [("", b"authorization"), ("x-api-key", b"x-api-key")])
def test_forwarding_it_is_a_choice(header: str, name: bytes) -> None:
    world = World(forward=True, **({"header": header} if header else {}))
    key = world.key()
    call = a_call_with({header: key.text}, {header: key.text}) if header else bearer(key.text)
    caller_of(world.policy, call)
    value = key.text if header else f"Bearer {key.text}"
    assert [pair for pair, _ in fields(call.metadata)] == [(name, value.encode())]


def test_nothing_secret_is_in_what_policies_say_of_themselves() -> None:
    world = World()
    key = world.key()
    caller = caller_of(world.policy, bearer(key.text))
    secret = key.text.split("_")[2]
    assert secret not in repr((caller, world.policy, vars(world.policy)))
