"""API keys of a mounted file, through a whole gateway with two workers: clients, alternatives, rotation and attacks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.keys import Minted, mint
from tests.support.deadline import until
from tests.support.gateway import Gateway
from tests.support.guarded import BODY, Stub, infer, jwt_policy, over_h2
from tests.support.issuer import token
from tests.support.model_server import ModelServer, model_server
from tests.support.raw_client import RawClient, post
from tests.support.rest import rest

PATH = "/v2/models/two_versions/infer"
INVALID = "the API key is not valid"


class Mounted:
    """A file of keys that is replaced as a whole, as a mounted secret is."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keys.yaml"
        self.lines: dict[str, str] = {}
        self.write()

    def key(self, principal: str, *more: str) -> Minted:
        key = mint()
        fields = ", ".join([f"id: {key.id}", f"digest: 'sha256:{key.digest.hex()}'", f"principal: {principal}", *more])
        self.lines[key.id] = f"  - {{{fields}}}"
        self.write()
        return key

    def write(self) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text("\n".join(["keys:", *self.lines.values()]) + "\n" if self.lines else "keys: []\n")
        os.replace(fresh, self.file)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Mounted:
    return Mounted(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def alice(mounted: Mounted) -> Minted:
    return mounted.key("alice", "tenant: acme", "scopes: [infer]")


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    mounted: Mounted, alice: Minted, server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A listener that would forward all headers, and routes for a key, one in a header of its own, and several ways."""
    policies = {
        "keys": {"kind": "api_key"},
        "own": {"kind": "api_key", "header": "x-api-key"},
        "kept": {"kind": "api_key", "header": "x-api-key", "forward": True},
        "staff": jwt_policy(tmp_path_factory.mktemp("issuer"), prefix="staff:"),
        "guests": {"kind": "anonymous"},
    }

    def route(name: str, *chain: str) -> dict[str, object]:
        to = {"pool": "tritons", "model": "m"}
        return {"name": name, "match": {"model": name}, "to": to, "policies": list(chain)}

    routes = [
        route("two_versions", "keys"),
        route("own", "own"),
        route("kept", "kept"),
        route("ways", "own", "keys", "staff"),
        route("guests", "keys", "staff", "guests"),
    ]
    with Gateway(
        [server.address],
        workers=2,
        listen={"forward_headers": ["x-*"]},
        settings={"policies": policies, "routes": routes, "key_file": str(mounted.file)},
    ) as running:
        until(lambda: infer(running, bearer(alice.text)).status == 200)
        yield running


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def test_clients_with_a_key(gateway: Gateway, alice: Minted) -> None:
    for _ in range(10):  # of both workers
        assert infer(gateway, bearer(alice.text)).status == 200
    assert over_h2(gateway, list(bearer(alice.text).items())) == 200
    with Stub(gateway) as stub:
        assert stub.infer(list(bearer(alice.text).items()))[0] == "OK"
        assert stub.stream(list(bearer(alice.text).items()))[0] == "OK"
        code, text, trailers = stub.infer(list(bearer(mint().text).items()))
        assert (code, text) == ("UNAUTHENTICATED", INVALID)
        assert 'error="invalid_token"' in trailers["www-authenticate"]


def test_without_a_key(gateway: Gateway) -> None:
    answer = infer(gateway)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="penstock"')
    assert infer(gateway, bearer(mint().text)).json["error"] == INVALID


def test_ways_are_alternatives(gateway: Gateway, alice: Minted) -> None:
    good = token()
    for headers in ({"x-api-key": alice.text}, bearer(alice.text), bearer(good)):
        assert infer(gateway, headers, "ways").status == 200
        assert infer(gateway, headers, "guests").status == 200
    assert infer(gateway, {}, "ways").status == 401
    assert infer(gateway, {}, "guests").status == 200
    for wrong in (bearer(mint().text), bearer(token(number=1)), {"authorization": "Basic eDp5"}, bearer("opaque")):
        assert infer(gateway, wrong, "ways").status == 401
        assert infer(gateway, wrong, "guests").status == 401


def test_i5_a_wrong_key_beside_a_good_token_is_refused_and_the_first_decides(gateway: Gateway, alice: Minted) -> None:
    assert infer(gateway, {"x-api-key": mint().text, **bearer(token())}, "ways").status == 401
    assert infer(gateway, {"x-api-key": alice.text, **bearer(token(number=1))}, "ways").status == 200
    good = f"Authorization: Bearer {alice.text}"
    for second in (good, "Authorization: Bearer x", "Authorization:"):
        with RawClient(gateway.address) as client:
            assert client.ask(post(BODY, PATH, good, second)).status == 400
    with RawClient(gateway.address) as client:
        twice = (f"x-api-key: {alice.text}", f"X-Api-Key: {alice.text}")
        assert client.ask(post(BODY, "/v2/models/own/infer", *twice)).status in (400, 401)


@pytest.mark.parametrize("name", ["api_key", "key", "apikey", "x-api-key", "authorization", "access_token"])
def test_i5_a_key_in_the_query_string_is_none(gateway: Gateway, alice: Minted, name: str) -> None:
    for model in ("two_versions", "own"):
        assert rest(gateway.address, "POST", f"/v2/models/{model}/infer?{name}={alice.text}", BODY).status == 401


@pytest.mark.parametrize("name", ["x_api_key", "x-api_key", "X_API_KEY", "http-x-api-key", "x-api-key-"])
def test_underscores_do_not_make_it_another_header(gateway: Gateway, alice: Minted, name: str) -> None:
    assert infer(gateway, {name: alice.text}, "own").status == 401
    assert infer(gateway, {"x-api-key": alice.text, name: "x"}, "own").status == 200


@pytest.mark.parametrize(
    "text", ["psk_';DROP TABLE keys;--", "psk_{{7*7}}", "psk_$(id)", "psk_redis.call('FLUSHALL')", "psk_" + "\xff" * 63]
)
def test_i7_metacharacters_are_inert(gateway: Gateway, text: str) -> None:
    assert rest(gateway.address, "POST", PATH, BODY, bearer(text)).status == 401


def test_keys_end_at_the_gateway_unless_told(gateway: Gateway, alice: Minted, server: ModelServer) -> None:
    def seen(model: str, headers: dict[str, str]) -> dict[str, str]:
        server.calls.clear()
        assert infer(gateway, {**headers, "x-other": "passes"}, model).status == 200
        (metadata,) = (metadata for name, _, metadata in server.calls if name == "ModelInfer")
        assert metadata["x-other"] == "passes"
        return metadata

    for model, headers in (
        ("two_versions", bearer(alice.text)),
        ("own", {"x-api-key": alice.text}),
        ("ways", {"x-api-key": alice.text, **bearer(token())}),
    ):
        assert not [value for value in seen(model, headers).values() if alice.text in value]
    assert seen("kept", {"x-api-key": alice.text})["x-api-key"] == alice.text


def test_rotation_overlaps_and_a_revoked_key_is_refused_soon(gateway: Gateway, mounted: Mounted) -> None:
    old = mounted.key("carol")
    new = mounted.key("carol")
    for key in (old, new):
        until(lambda key=key: infer(gateway, bearer(key.text)).status == 200)  # type: ignore[misc]
    mounted.lines[old.id] = mounted.lines[old.id].replace("principal:", "revoked: true, principal:")
    mounted.write()
    until(lambda: all(infer(gateway, bearer(old.text)).status == 401 for _ in range(8)), 5.0)
    answer = infer(gateway, bearer(old.text))
    assert answer.json["error"] == "the API key has been revoked"
    assert infer(gateway, bearer(new.text)).status == 200


def test_a_key_expires(gateway: Gateway, mounted: Mounted) -> None:
    late = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    key = mounted.key("dave", f"expires: {late}")
    until(lambda: infer(gateway, bearer(key.text)).status == 200, 3.0)
    until(lambda: infer(gateway, bearer(key.text)).status == 401, 10.0)
    assert infer(gateway, bearer(key.text)).json["error"] == "the API key has expired"
