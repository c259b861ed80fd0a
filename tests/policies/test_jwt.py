"""Good tokens say who calls; everything that is written to look like one is refused, and asks for nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt as library
import pytest

from policies.jwt import NOT_VALID, Policy, Spec
from routing.authentication import Authenticator
from routing.call import Call, Reply, link
from routing.identity import Identity
from tests.support.callers import Wall, a_call_with, caller_of, challenge_of, refusal_of, spec_of
from tests.support.clock import Clock
from tests.support.issuer import AUDIENCE, ISSUER, b64, claims, forged, jwks, pem, public_jwk, token
from tests.support.policies import Counts, some_services
from tests.support.pools import OK
from transcoding.http2.fragment import fields
from transcoding.status import Code

KEYS = jwks(public_jwk("RS256", "k1"), public_jwk("ES256", "e1"), public_jwk("EdDSA", "d1"), public_jwk("ES384", "f1"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "keys.json")


class World:
    """A policy that reads its keys from a file."""

    def __init__(self, file: Path, **options: Any) -> None:
        self.file, self.wall, self.clock, self.counts = file, Wall(), Clock(), Counts()
        file.write_bytes(KEYS)
        self.policy = self.make(**options)

    def make(self, **options: Any) -> Policy:
        given = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(self.file), **options}
        services = replace(some_services(self.counts), clock=self.clock, wall=self.wall)
        return Policy(spec_of(Spec, **given), services)

    def caller(self, text: str) -> Identity:
        return caller_of(self.policy, shown(text))

    def refused(self, text: str) -> str:
        refused = refusal_of(self.policy, shown(text))
        assert (refused.code, refused.http_status) == (Code.UNAUTHENTICATED, 401)
        challenge = f'Bearer realm="penstock", error="invalid_token", error_description="{refused.message}"'
        assert challenge_of(refused) == challenge
        return refused.message


def shown(text: str) -> Call:
    return a_call_with({"authorization": f"Bearer {text}"})


class TestGood:
    """What good tokens say."""

    @pytest.mark.parametrize(
        ("algorithm", "kid"), [("RS256", "k1"), ("PS256", "k1"), ("ES256", "e1"), ("EdDSA", "d1"), ("ES256", None)]
    )
    def test_of_each_algorithm(self, world: World, algorithm: str, kid: str | None) -> None:
        assert world.caller(token(algorithm, kid)).principal == "alice"

    def test_all_of_it(self, tmp_path: Path) -> None:
        world = World(tmp_path / "k", tenant="org.id", scopes="realm_access.roles", prefix="corp:", principal="email")
        text = token(email="a@b.c", org={"id": "acme"}, realm_access={"roles": ["infer", "gpu"]}, jti="t-1")
        assert world.caller(text) == Identity("corp:a@b.c", "acme", frozenset({"infer", "gpu"}), "jwt", "t-1")

    def test_scopes_in_words_and_one_of_several_audiences(self, world: World) -> None:
        assert world.caller(token(scope="infer gpu", aud=["other", AUDIENCE])).scopes == {"infer", "gpu"}

    def test_several_issuers_are_several_policies(self, world: World, tmp_path: Path) -> None:
        other = World(tmp_path / "other", issuer="https://other.example", prefix="other:")
        chain = [world.policy, other.policy]
        assert caller_of(chain, shown(token())).principal == "alice"
        assert caller_of(chain, shown(token(iss="https://other.example"))).principal == "other:alice"
        assert refusal_of(chain, shown(token(iss="https://third.example"))).message == NOT_VALID

    def test_it_goes_upstream_only_when_told(self, tmp_path: Path) -> None:
        for forward in (False, True):
            world, text = World(tmp_path / "k", forward=forward), token()
            for _ in range(2):
                call = shown(text)
                caller_of(world.policy, call)
                seen = [pair for pair, _ in fields(call.metadata)]
                assert seen == ([(b"authorization", f"Bearer {text}".encode())] if forward else [])


def hs_with_public_key(algorithm: str = "HS256", secret: bytes | None = None) -> str:
    """The confusion of RSA's public key with the secret of an HMAC; PyJWT itself refuses to write such a token."""
    head = b64(json.dumps({"alg": algorithm, "typ": "JWT", "kid": "k1"}).encode())
    body = b64(json.dumps(claims()).encode())
    signature = hmac.new(pem() if secret is None else secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{b64(signature)}"


def with_header(**header: Any) -> str:
    """A good token of an attacker's own key, with these in its header."""
    return token("RS256", header=header, number=1)


TRAVERSALS = [
    "../../../dev/null",
    "/dev/null",
    "k1' OR '1'='1",
    "k1\0",
    "file:///etc/passwd",
    "|id",
    "k1\r\nx: y",
    "K1",
]
CONFUSED: dict[str, Callable[[], str]] = {
    "none": lambda: forged({"alg": "none", "kid": "k1"}, claims()),
    "None": lambda: forged({"alg": "None", "kid": "k1"}, claims()),
    "nOnE": lambda: forged({"alg": "nOnE", "kid": "k1"}, claims()),
    "none with a signature": lambda: forged({"alg": "none", "kid": "k1"}, claims(), b"x"),
    "no algorithm": lambda: forged({"kid": "k1"}, claims()),
    "an algorithm that is no text": lambda: forged({"alg": ["RS256"], "kid": "k1"}, claims()),
    "an empty signature": lambda: forged({"alg": "RS256", "kid": "k1"}, claims()),
    "zeros for ES256": lambda: forged({"alg": "ES256", "kid": "e1"}, claims(), bytes(64)),
    "HS256 with the public key": hs_with_public_key,
    "HS256 with nothing": lambda: hs_with_public_key(secret=b""),
    "HS512 with the public key": lambda: hs_with_public_key("HS512"),
    "RS256 in name, HMAC in truth": lambda: hs_with_public_key("RS256"),
    "another's key": lambda: with_header(),
    "jku": lambda: with_header(jku="http://127.0.0.1:1/jwks"),
    "x5u": lambda: with_header(x5u="http://127.0.0.1:1/cert"),
    "jwk": lambda: with_header(jwk=public_jwk("RS256", "k1", number=1)),
    "x5c": lambda: with_header(x5c=["MIIB"]),
    "crit": lambda: token(header={"crit": ["exp2"], "exp2": 1}),
    "b64": lambda: token(header={"b64": False, "crit": ["b64"]}),
    "an algorithm not listed": lambda: token("ES384", "f1"),
    "a key of another algorithm": lambda: token("ES256", "k1"),
    "RSA for EC": lambda: token("RS256", "e1"),
    "EC for Ed25519": lambda: token("ES256", "d1"),
    "no kid though several": lambda: token("RS256", None, number=1),
    "other claims": lambda: ".".join(
        [token().split(".")[0], b64(json.dumps(claims(sub="root")).encode()), token().split(".")[2]]
    ),
    "claims that are no object": lambda: forged({"alg": "RS256", "kid": "k1"}, ["x"]),
    "no JSON": lambda: f"{b64(b'{')}.{b64(b'{')}.{b64(b'x')}",
    "no base64": lambda: "e!.e!.e!",
    "deep": lambda: f"{b64(b'{}')}.{b64(b'[' * 4000)}.x",
    "empty": lambda: "..",
    "padding": lambda: f"{token()}==",
    **{f"kid {kid!r}": lambda kid=kid: token(kid=kid) for kid in TRAVERSALS},  # type: ignore[misc]
    "kid that is no text": lambda: forged({"alg": "RS256", "kid": 7}, claims(), b"x"),
    "blanks within": lambda: token().replace(".", "._", 1).replace("._", ".\t", 1),
    "other letters of base64": lambda: token() + "+/",
    "a long kid": lambda: token(kid="k" * 300),
}


@pytest.fixture
def no_fetch(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Nobody is asked for anything, but for the file of keys."""
    asked: list[object] = []

    async def fetch(*args: object) -> bytes:
        asked.append(args)
        raise AssertionError(args)

    def connect(*args: object) -> None:
        asked.append(args)
        raise AssertionError(args)

    monkeypatch.setattr("policies.jwt.fetch", fetch)
    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("urllib.request.urlopen", connect)
    return asked


class TestForged:
    """I1, I2: what is refused."""

    @pytest.mark.parametrize("case", CONFUSED)
    def test_i1_what_only_looks_like_a_token(self, world: World, case: str, no_fetch: list[object]) -> None:
        assert world.refused(CONFUSED[case]()) == NOT_VALID
        assert not no_fetch
        assert world.caller(token()).principal == "alice"

    @pytest.mark.parametrize("at", ["jku", "x5u"])
    def test_a_good_token_with_such_headers_is_good_by_its_issuers_key_only(
        self, world: World, at: str, no_fetch: list[object]
    ) -> None:
        assert world.caller(token(header={at: "http://127.0.0.1:1/"})).principal == "alice"
        assert not no_fetch

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"exp": None}, "the token has no claim 'exp'"),
            ({"aud": None}, "the token has no claim 'aud'"),
            ({"sub": None}, "the token has no usable claim 'sub'"),
            ({"sub": ""}, "the token has no usable claim 'sub'"),
            ({"aud": "other"}, "the token is not for this audience"),
            ({"aud": ["other", AUDIENCE + "x"]}, "the token is not for this audience"),
            ({"aud": []}, "the token has no claim 'aud'"),
            ({"aud": {AUDIENCE: 1}}, "the token is not for this audience"),
            ({"exp": time.time() - 31}, "the token has expired"),
            ({"exp": str(time.time() + 100)}, "the token's claim 'exp' is no time"),
            ({"exp": 10**30}, "the token's claim 'exp' is no time"),
            ({"exp": True}, "the token's claim 'exp' is no time"),
            ({"nbf": time.time() + 86_400}, "the token is not valid yet"),
            ({"nbf": "soon"}, "the token's claim 'nbf' is no time"),
        ],
        ids=lambda value: "+".join(value) if isinstance(value, dict) else value[-8:],
    )
    def test_i2_claims_that_do_not_do(self, world: World, change: dict[str, Any], message: str) -> None:
        assert world.refused(token(**change)) == message

    @pytest.mark.parametrize(
        "issuer", [None, "", "https://login.example/", "HTTPS://login.example", ["https://login.example"]]
    )
    def test_i2_other_issuers(self, world: World, issuer: Any) -> None:
        body = claims(iss=issuer) if issuer is not None else claims(iss=None)
        text = forged({"alg": "RS256", "kid": "k1"}, body, b"x")
        assert world.refused(text) == NOT_VALID

    def test_i2_lifetimes(self, tmp_path: Path) -> None:
        world = World(tmp_path / "k", max_lifetime=3600.0)
        now = time.time()
        assert world.caller(token(exp=now + 3600, iat=now)).principal == "alice"
        assert world.refused(token(exp=now + 4000, iat=now)) == "the token lives longer than is accepted here"
        assert world.refused(token(exp=now + 4000, iat=None)) == "the token lives longer than is accepted here"

    def test_a_tenant_that_is_asked_for_must_be_there(self, tmp_path: Path) -> None:
        world = World(tmp_path / "k", tenant="tid")
        assert world.refused(token()) == "the token has no usable claim 'tid'"
        assert world.refused(token(tid=["a"])) == "the token has no usable claim 'tid'"

    def test_without_a_good_signature_nothing_is_told(self, world: World) -> None:
        for change in ({"exp": 1}, {"aud": "other"}, {"nbf": time.time() + 999}, {"sub": None}):
            assert world.refused(token(number=1, **change)) == NOT_VALID

    def test_a_token_that_is_too_long_is_not_even_read(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "decode", None)
        assert world.refused(token(pad="x" * 9000)) == NOT_VALID

    def test_i5_two_tokens_are_none(self, world: World) -> None:
        for separator in (", ", ",", " ", ", Bearer "):
            refusal_of(world.policy, shown(f"{token()}{separator}{token()}"))

    @pytest.mark.parametrize("value", ["Bearer opaque", "Bearer a.b", "Bearer a.b.c.d", "Basic eDp5", "Bearer "])
    def test_what_is_no_token_is_left_to_others_and_refused_by_the_last(self, world: World, value: str) -> None:
        class Taker(Authenticator):
            async def identify(self, call: Call) -> Identity | None:
                return Identity("taken")

        call = a_call_with({"authorization": value})
        assert caller_of([world.policy, Taker()], call).principal == "taken"
        assert refusal_of(world.policy, a_call_with({"authorization": value})).message == NOT_VALID

    def test_no_token_at_all(self, world: World) -> None:
        refused = refusal_of(world.policy, a_call_with())
        assert refused.message == "a token is required, as Authorization: Bearer"
        assert challenge_of(refused) == 'Bearer realm="penstock"'

    def test_refusals_are_counted_by_reason(self, world: World) -> None:
        world.refused(token(number=1))
        world.refused(token(exp=1))
        refusal_of(world.policy, a_call_with())
        family = "penstock_unauthenticated_total"
        assert {key: value for key, value in world.counts.all().items() if key[0] == family} == {
            (family, "jwt", "invalid"): 1,
            (family, "jwt", "claims"): 1,
            (family, "jwt", "missing"): 1,
        }


def in_turn(policy: Policy, *steps: str | Callable[[], Awaitable[None] | None]) -> list[str]:
    """Tokens shown one after the other in one event loop, with what happens between; principals, or messages."""
    from transcoding.status import GatewayError

    seen = []

    async def behind(call: Call) -> Reply:
        seen.append(call.principal)
        return Reply(OK)

    async def run() -> None:
        chain = link([policy], behind)
        for step in steps:
            if not isinstance(step, str):
                waited = step()
                if waited is not None:
                    await waited
                continue
            try:
                await chain(shown(step))
            except GatewayError as error:
                seen.append(error.message)

    asyncio.run(run())
    return seen


class TestRemembered:
    """Good tokens are remembered while they are good."""

    def test_a_signature_is_checked_once(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        checks: list[object] = []
        decode = library.decode
        monkeypatch.setattr(library, "decode", lambda *args, **more: checks.append(1) or decode(*args, **more))
        text = token()
        assert in_turn(world.policy, text, text, text) == ["alice"] * 3
        assert len(checks) == 1

    def test_until_it_expires(self, world: World) -> None:
        text = token(exp=world.wall.now + 100)

        def later() -> None:
            world.wall.now += 130

        assert in_turn(world.policy, text, later, text) == ["alice", "the token has expired"]

    def test_until_the_keys_change(self, world: World) -> None:
        text, other = token(), token("ES256", "e2")

        def rotate() -> None:
            world.file.write_bytes(jwks(public_jwk("ES256", "e2")))
            world.clock.now += 10

        assert in_turn(world.policy, text, rotate, text, other, text) == ["alice", "alice", "alice", NOT_VALID]

    def test_no_longer_than_keys_are_taken_for_current(self, world: World) -> None:
        text = token(exp=world.wall.now + 10_000)

        def withdraw() -> None:
            world.file.write_bytes(jwks(public_jwk("ES256", "e2")))
            world.wall.now += 601
            world.clock.now += 601

        async def settle() -> None:
            await asyncio.sleep(0.1)

        assert in_turn(world.policy, text, withdraw, text, settle, text) == ["alice", "alice", NOT_VALID]

    def test_not_more_than_so_many(self, tmp_path: Path) -> None:
        world = World(tmp_path / "k", remembered=3)
        texts = [token(sub=f"u{number}") for number in range(5)]
        in_turn(world.policy, *texts[:3], texts[0], *texts[3:])
        assert [identity.principal for identity, _ in world.policy._good.values()] == ["u0", "u3", "u4"]

    def test_bad_ones_are_not(self, world: World) -> None:
        world.refused(token(number=1))
        assert not world.policy._good


def test_i4_without_keys_nobody_is_let_in_nor_called_wrong(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.file.unlink()
    with caplog.at_level(logging.WARNING):
        refused = refusal_of(world.policy, shown(token()))
    assert (refused.code, refused.http_status, refused.retry_after) == (Code.UNAVAILABLE, 503, 1.0)
    assert world.counts[("penstock_key_sets_read_total", "failed")] == 1
    assert "No such file" in caplog.text


def test_nothing_of_a_token_is_in_what_is_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert world.caller(token(canary="c4n4ry"))
        for text in (token(number=1, kid="c4n4ry"), token(aud="c4n4ry"), token(sub=["c4n4ry"])):
            assert "c4n4ry" not in repr(refusal_of(world.policy, shown(text)))
    assert "c4n4ry" not in caplog.text
