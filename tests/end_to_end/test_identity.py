"""Who calls, through whole gateways before real Tritons, with real clients, and what attackers try.

The letters are those of the list of attacks. Those on framing, bodies, paths and versions (F, S, H, P1, P2, P6) are in
`test_hostile_http1`, `test_hostile_http2`, `test_hostile_bodies` and `test_hostile_slow`; I2 in all its forms and I6
are in `tests/policies/test_jwt` and `tests/policies/test_api_key_timing`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http

from deploy.triton import Triton
from tests.policies.test_jwt import CONFUSED
from tests.support.gateway import Gateway
from tests.support.guarded import BODY, Stub, ask, infer, jwt_policy, over_h2, pb, request
from tests.support.issuer import token
from tests.support.raw_client import RawClient, post
from tests.support.rest import rest
from tests.support.triton import start_triton

pytestmark = pytest.mark.triton

MODELS = ("two_versions", "simple", "repeat_int32")


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def alice(**more: Any) -> dict[str, str]:
    return bearer(token(scope="infer", **more))


@pytest.fixture(scope="module")
def triton() -> Triton:
    return start_triton(MODELS)


@pytest.fixture(scope="module")
def gateway(triton: Triton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Tokens on one route, tokens or nobody on another, and rights behind both."""
    staff = jwt_policy(tmp_path_factory.mktemp("issuer"), tenant="tid")
    rights = {
        "kind": "authorize",
        "allow": [
            {"scopes": "infer", "models": "two_versions", "versions": ["1"], "apis": ["inference", "metadata"]},
            {"principals": "root", "apis": ["inference", "metadata", "statistics", "repository"]},
            {"principals": "anonymous", "models": "repeat_int32"},
        ],
    }
    routes = [
        {
            "name": "guarded",
            "match": {"model": ["two_versions", "alias"]},
            "to": {"pool": "tritons", "model": "two_versions", "version": "1"},
            "rules": [
                {"when": {"header": "x-canary", "present": True}, "to": {"pool": "tritons", "version": "2"}},
                {"when": {"principal": "root"}, "to": {"pool": "tritons", "version": "2"}},
            ],
            "policies": ["staff", "rights"],
        },
        {
            "name": "open",
            "match": {"model": "repeat_int32"},
            "to": "tritons",
            "policies": ["staff", "guests", "rights"],
        },
        {"name": "rest", "match": {"model": "*"}, "to": "tritons", "policies": ["staff", "rights"]},
    ]
    settings = {"policies": {"staff": staff, "guests": {"kind": "anonymous"}, "rights": rights}, "routes": routes}
    with Gateway([triton.grpc_address], workers=2, settings=settings) as running:
        yield running


ALICE = {"tid": "acme"}


class TestClients:
    """Real clients with good tokens, bad ones, and none."""

    def test_rest(self, gateway: Gateway) -> None:
        assert infer(gateway, alice(**ALICE)).status == 200
        refused = infer(gateway)
        assert (refused.status, refused.json["error"]) == (401, "a token is required, as Authorization: Bearer")
        assert refused.headers["www-authenticate"] == 'Bearer realm="penstock"'
        wrong = infer(gateway, bearer(token(number=1)))
        assert wrong.status == 401
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"]

    def test_http2(self, gateway: Gateway) -> None:
        assert over_h2(gateway, list(alice(**ALICE).items())) == 200
        assert over_h2(gateway, []) == 401

    def test_grpcio(self, gateway: Gateway) -> None:
        with Stub(gateway) as stub:
            assert stub.infer(list(alice(**ALICE).items()))[0] == "OK"
            code, text, trailers = stub.infer()
            assert (code, text) == ("UNAUTHENTICATED", "a token is required, as Authorization: Bearer")
            assert trailers["www-authenticate"] == 'Bearer realm="penstock"'
            assert stub.stream(list(alice(**ALICE).items())) == ("OK", "")
            assert "a token is required" in " ".join(stub.stream())

    def test_tritonclient(self, gateway: Gateway) -> None:
        tensor = triton_grpc.InferInput("INPUT0", [1], "INT32")
        tensor.set_data_from_numpy(np.array([7], np.int32))
        with triton_grpc.InferenceServerClient(gateway.address) as client:
            reply = client.infer("two_versions", [tensor], headers=alice(**ALICE))
            assert reply.as_numpy("OUTPUT0")[0] == 1
            with pytest.raises(triton_grpc.InferenceServerException, match="a token is required"):
                client.infer("two_versions", [tensor])
        plain = triton_http.InferInput("INPUT0", [1], "INT32")
        plain.set_data_from_numpy(np.array([7], np.int32))
        with triton_http.InferenceServerClient(gateway.address) as client:
            assert client.infer("two_versions", [plain], headers=alice(**ALICE)).as_numpy("OUTPUT0")[0] == 1
            with pytest.raises(triton_http.InferenceServerException, match="a token is required"):
                client.infer("two_versions", [plain])

    @pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
    def test_curl(self, gateway: Gateway) -> None:
        def status(*options: str) -> str:
            url = f"http://{gateway.address}/v2/models/two_versions/infer"
            command = ["curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", *options, "-d", BODY, url]
            return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout.decode()

        assert status("--oauth2-bearer", token(scope="infer", **ALICE)) == "200"
        assert status("-u", f"alice:{token(scope='infer', **ALICE)}") == "401"
        assert status() == "401"

    def test_who_shows_nothing_may_be_somebody_and_who_shows_something_wrong_is_nobody(self, gateway: Gateway) -> None:
        tensors = {"IN": [4], "DELAY": [0], "WAIT": [0]}
        path = "/v2/models/repeat_int32/generate_stream"

        def generate(headers: dict[str, str] | None = None) -> int:
            return rest(gateway.address, "POST", path, json.dumps(tensors).encode(), headers).status

        assert generate() == 200
        assert generate(bearer(token(number=1))) == 401
        assert generate({"authorization": "Basic eDp5"}) == 401
        assert generate(alice(**ALICE)) == 404  # alice is known, and has no right to it


class TestTokens:
    """I1, I2: tokens that only look like some, over both APIs."""

    @pytest.mark.parametrize("case", CONFUSED)
    def test_i1_confusion(self, gateway: Gateway, case: str) -> None:
        text = CONFUSED[case]()
        assert infer(gateway, bearer(text)).status == 401
        if text.isprintable():  # others a client of gRPC does not send
            with Stub(gateway) as stub:
                assert stub.infer(list(bearer(text).items()))[:2] == ("UNAUTHENTICATED", "the token is not valid")

    def test_i2_expired(self, gateway: Gateway) -> None:
        answer = infer(gateway, alice(exp=time.time() - 60, **ALICE))
        assert (answer.status, answer.json["error"]) == (401, "the token has expired")

    def test_what_a_claim_is_missing_is_told_to_its_holder(self, gateway: Gateway) -> None:
        assert infer(gateway, alice()).json["error"] == "the token has no usable claim 'tid'"


class TestHeaders:
    """I5, I9 to I12: headers that are not what they seem."""

    def test_i5_two_authorizations(self, gateway: Gateway) -> None:
        good, bad = f"Bearer {token(scope='infer', **ALICE)}", f"Bearer {token(number=1)}"
        for first, second in ((good, bad), (bad, good), (good, good), (good, "")):
            fields = (f"Authorization: {first}", f"Authorization: {second}")
            with RawClient(gateway.address) as client:
                assert client.ask(post(BODY, "/v2/models/two_versions/infer", *fields)).status == 400
            pairs = [("authorization", first), ("authorization", second)]
            assert over_h2(gateway, pairs) == 400
            with Stub(gateway) as stub:
                assert stub.infer(pairs)[0] in ("UNAUTHENTICATED", "INVALID_ARGUMENT")

    def test_i5_a_token_in_the_query_string_is_none(self, gateway: Gateway) -> None:
        text = token(scope="infer", **ALICE)
        for name in ("access_token", "authorization", "token", "api_key", "apikey", "key"):
            answer = rest(gateway.address, "POST", f"/v2/models/two_versions/infer?{name}={text}", BODY)
            assert (answer.status, answer.json["error"]) == (401, "a token is required, as Authorization: Bearer")

    def test_a_token_in_the_body_or_a_cookie_is_none(self, gateway: Gateway) -> None:
        text = token(scope="infer", **ALICE)
        body = json.dumps({**json.loads(BODY), "parameters": {"authorization": f"Bearer {text}"}}).encode()
        assert rest(gateway.address, "POST", "/v2/models/two_versions/infer", body).status == 401
        assert infer(gateway, {"cookie": f"authorization=Bearer {text}; access_token={text}"}).status == 401

    @pytest.mark.parametrize(
        "name", ["authorization_", "x_authorization", "http_authorization", "x-authorization", "proxy-authorization",
                 "x-forwarded-authorization", "x-original-authorization", "authorizatlon"]
    )  # fmt: skip
    def test_headers_that_resemble_it_are_none(self, gateway: Gateway, name: str) -> None:
        good = f"Bearer {token(scope='infer', **ALICE)}"
        assert infer(gateway, {name: good}).status == 401
        with Stub(gateway) as stub:
            assert stub.infer([(name, good)])[0] == "UNAUTHENTICATED"

    def test_case_and_blanks_do_not_matter(self, gateway: Gateway) -> None:
        assert infer(gateway, {"AUTHORIZATION": f"bEARER   {token(scope='infer', **ALICE)} "}).status == 200

    @pytest.mark.parametrize(
        "name", ["x-forwarded-user", "x-remote-user", "remote-user", "x-authenticated-userid", "x-consumer-username",
                 "x-penstock-principal", "penstock-principal", "x-principal", "x-tenant", "x-forwarded-client-cert",
                 "x-ssl-client-cert", "x-webauth-user", "x-auth-request-user", "x-user", "forwarded"]
    )  # fmt: skip
    def test_i11_i12_what_only_a_gateway_may_say_is_not_believed(self, gateway: Gateway, name: str) -> None:
        value = "for=1;by=root" if name == "forwarded" else "root"
        assert infer(gateway, {name: value}).status == 401
        answer = infer(gateway, {**alice(**ALICE), name: value})
        assert (answer.status, answer.json["model_version"]) == (200, "1")  # root's would be 2

    @pytest.mark.parametrize("named", ["authorization", "x-canary", "authorization, x-canary"])
    def test_i10_connection_takes_no_header_away(self, gateway: Gateway, named: str) -> None:
        """Hop-by-hop headers are for the next hop, and who calls is said to this one."""
        assert infer(gateway, {"connection": named}).status == 401
        assert infer(gateway, {**alice(**ALICE), "connection": named}).status == 200
        assert infer(gateway, {**alice(**ALICE), "x-canary": "1", "connection": named}).status == 404


class TestRights:
    """P3: rights are to what a request goes to, and what is not for a caller is not there."""

    def test_p3_versions_after_rules(self, gateway: Gateway) -> None:
        assert infer(gateway, alice(**ALICE)).json["model_version"] == "1"
        canary = infer(gateway, {**alice(**ALICE), "x-canary": "1"})
        assert canary.status == 404
        named = rest(gateway.address, "POST", "/v2/models/two_versions/versions/2/infer", BODY, alice(**ALICE))
        assert named.status == 404
        assert infer(gateway, alice(sub="root", **ALICE)).json["model_version"] == "2"

    def test_p3_other_names_of_a_model(self, gateway: Gateway) -> None:
        assert infer(gateway, alice(**ALICE), "alias").json["model_name"] == "two_versions"
        refused = infer(gateway, bearer(token(sub="bob", **ALICE)), "alias")
        assert refused.json == {"error": "Request for unknown model: 'alias' is not found"}

    @pytest.mark.parametrize("path", ["", "/config", "/stats", "/ready"])
    def test_forbidden_looks_unknown_over_rest(self, gateway: Gateway, path: str) -> None:
        bob = bearer(token(sub="bob", **ALICE))
        forbidden = ask(gateway, f"/v2/models/simple{path}", bob)
        unknown = ask(gateway, f"/v2/models/nosuch{path}", bob)
        assert forbidden.status == unknown.status != 200
        assert forbidden.body.replace(b"simple", b"nosuch") == unknown.body
        assert seen(forbidden.headers) == seen(unknown.headers)

    @pytest.mark.parametrize("operation", ["infer", "generate", "generate_stream"])
    def test_forbidden_looks_unknown_when_it_is_run(self, gateway: Gateway, operation: str) -> None:
        bob = bearer(token(sub="bob", **ALICE))
        body = BODY if operation == "infer" else b'{"INPUT0": 1}'
        forbidden, unknown = (
            rest(gateway.address, "POST", f"/v2/models/{model}/{operation}", body, bob)
            for model in ("simple", "nosuch")
        )
        assert forbidden.status == unknown.status == 404
        assert forbidden.body.replace(b"simple", b"nosuch") == unknown.body
        assert seen(forbidden.headers) == seen(unknown.headers)

    def test_forbidden_looks_unknown_over_grpc(self, gateway: Gateway) -> None:
        bob = list(bearer(token(sub="bob", **ALICE)).items())
        with Stub(gateway) as stub:
            questions = {
                "ModelMetadata": pb.ModelMetadataRequest,
                "ModelConfig": pb.ModelConfigRequest,
                "ModelStatistics": pb.ModelStatisticsRequest,
                "ModelReady": pb.ModelReadyRequest,
            }
            for method, message in questions.items():
                forbidden, unknown = (stub.call(method, message(name=model), bob) for model in ("simple", "nosuch"))
                assert forbidden[0] == unknown[0], method
                assert forbidden[1].replace("simple", "nosuch") == unknown[1], method
                assert forbidden[2].keys() == unknown[2].keys(), method
            forbidden, unknown = (stub.infer(bob, model) for model in ("simple", "nosuch"))
            assert forbidden[0] == unknown[0] == "NOT_FOUND"
            assert forbidden[1].replace("simple", "nosuch") == unknown[1]
            ended = [stub.stream(bob, model) for model in ("simple", "nosuch")]
            assert ended[0][1].replace("simple", "nosuch") == ended[1][1]

    def test_what_may_be_done_is_by_kind_of_request(self, gateway: Gateway) -> None:
        mine, roots = alice(**ALICE), alice(sub="root", **ALICE)
        assert ask(gateway, "/v2/models/two_versions", mine).status == 200
        assert ask(gateway, "/v2/models/two_versions/versions/1/stats", mine).status == 403
        assert ask(gateway, "/v2/models/two_versions/versions/1/stats", roots).status == 200
        load = [
            rest(gateway.address, "POST", "/v2/repository/models/two_versions/unload", b"{}", each).status
            for each in (mine, {})
        ]
        assert load == [403, 401]
        assert infer(gateway, mine).status == 200

    def test_rules_know_who_calls(self, gateway: Gateway) -> None:
        with Stub(gateway) as stub:
            reply = stub.stub.ModelInfer(request(), metadata=list(alice(sub="root", **ALICE).items()), timeout=20)
        assert reply.model_version == "2"


def seen(headers: dict[str, str]) -> dict[str, str]:
    """What of an answer's head may differ between two models: nothing but its length."""
    return {name: value for name, value in headers.items() if name not in ("content-length", "date")}


def test_refusals_are_counted_and_label_values_stay_few(gateway: Gateway) -> None:
    for number in range(50):
        infer(gateway, bearer(token(number=1, kid=f"k{number}")), f"m{number}")
    time.sleep(2.5)
    page = gateway.admin("/metrics")[1]
    lines = [line for line in page.splitlines() if line.startswith("penstock_unauthenticated_total{")]
    assert {line.split("{")[1].split("}")[0] for line in lines} <= {
        f'kind="{kind}",reason="{reason}"'
        for kind in ("jwt", "anonymous")
        for reason in ("missing", "invalid", "claims", "no_keys")
    }
    assert Path(gateway.log).read_text().count("Traceback") == 0
