"""A9: what clients send as a secret is nowhere to be read: no log, no metric, no page, no answer, no endpoint.

A canary goes in wherever a client can put one, right and wrong, over REST and gRPC, through a gateway that logs all it
can. Then everything that the gateway wrote or said is searched for it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

from gateway.admin.api import PATHS
from tests.support.counters import wait_for_reports
from tests.support.gateway import Gateway
from tests.support.guarded import Stub, jwt_policy, over_h2, pb
from tests.support.issuer import b64, claims, forged, token
from tests.support.model_server import ModelServer, model_server
from tests.support.raw_client import RawClient, post
from tests.support.rest import rest

CANARY = "c4n4ryS3cr3tXq7"
FORMS = [
    CANARY,
    *(base64.b64encode(b" " * pad + CANARY.encode())[4:-4].decode() for pad in range(3)),
    CANARY.encode().hex(),
]
"""As it is, in base64 at each of three offsets, and in hexadecimal."""

GOOD = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [7]}]}
PAGES = (*PATHS, "/", "/v1/explain?model=m")
QUOTED = {"header inference-header-content-length", "body 4"}
"""What is wrong in a request beside its credentials is quoted to whoever sent it, and to nobody else."""

TOKENS = {
    "a good one": lambda: token(canary=CANARY, sub="alice"),
    "of nobody's key": lambda: token(number=1, canary=CANARY),
    "expired": lambda: token(exp=1, canary=CANARY),
    "for others": lambda: token(aud=CANARY),
    "of another issuer": lambda: token(iss=CANARY),
    "with another name": lambda: token(sub=[CANARY]),
    "with another kid": lambda: token(kid=CANARY),
    "with another algorithm": lambda: forged({"alg": CANARY, "kid": "k1"}, claims()),
    "with a url": lambda: token(number=1, header={"jku": f"http://127.0.0.1:1/{CANARY}"}),
    "that is broken": lambda: f"{b64(CANARY.encode())}.{CANARY}.{CANARY}",
    "that is a key": lambda: f"psk_{CANARY}",
    "of a key's length": lambda: "psk_" + "a" * 12 + "_" + (CANARY * 4)[:43] + "_abcdef",
    "that is nothing": lambda: CANARY,
}
HEADERS = [
    {"authorization": CANARY},
    {"authorization": f"Basic {base64.b64encode(CANARY.encode()).decode()}"},
    {"x-api-key": CANARY},
    {"x-api-key": f"psk_{CANARY}"},
    {"cookie": f"session={CANARY}"},
    {"proxy-authorization": f"Bearer {CANARY}"},
    {"x-forwarded-client-cert": CANARY},
    {"content-type": CANARY},
    {"content-encoding": CANARY},
    {"inference-header-content-length": CANARY},
    {"accept-encoding": CANARY},
    {CANARY.lower(): "x"},
]
BODIES = [
    CANARY.encode(),
    json.dumps({**GOOD, "parameters": {"api_key": CANARY}}).encode(),
    json.dumps({**GOOD, "id": CANARY}).encode(),
    json.dumps({"inputs": [{"name": "INPUT0", "datatype": "BYTES", "shape": [1], "data": [CANARY]}]}).encode(),
    json.dumps({"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [CANARY]}]}).encode(),
    json.dumps(GOOD).encode()[:-1] + f', "{CANARY}'.encode(),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, ModelServer]]:
    """A gateway that logs all it can and would forward every header, before a backend that notes what it gets."""
    policies = {
        "keys": {"kind": "api_key"},
        "own": {"kind": "api_key", "header": "x-api-key"},
        "staff": jwt_policy(tmp_path_factory.mktemp("issuer")),
    }
    routes = [
        {"name": "guarded", "match": {"model": "m"}, "to": "tritons", "policies": ["own", "keys", "staff"]},
        {
            "name": "shadow",
            "match": {"model": "*"},
            "to": "tritons",
            "policies": ["own", "keys", "staff", {"kind": "authorize", "mode": "shadow"}],
        },
    ]
    with model_server() as server:
        gateway = Gateway(
            [server.address],
            listen={"forward_headers": ["x-*", "api*"]},
            settings={"policies": policies, "routes": routes},
            log_level="debug",
        )
        with gateway:
            yield gateway, server


class Scan:
    """Everything that a gateway wrote or said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def note(self, where: str, text: str | bytes) -> None:
        self.said.append((where, text if isinstance(text, str) else text.decode("latin-1")))

    def found(self) -> list[str]:
        """Where the canary is."""
        return [where for where, text in self.said if any(form.lower() in text.lower() for form in FORMS)]


def over_rest(gateway: Gateway, scan: Scan) -> None:
    def ask(where: str, headers: dict[str, str], body: bytes = json.dumps(GOOD).encode(), query: str = "") -> None:
        for model in ("m", "other"):
            answer = rest(gateway.address, "POST", f"/v2/models/{model}/infer{query}", body, headers)
            if where not in QUOTED and answer.status != 200:  # what a model says is its own business
                scan.note(f"{where}: {answer.status}", answer.body)
            scan.note(f"{where}: head", json.dumps(answer.headers))

    for name, make in TOKENS.items():
        ask(f"token {name}", {"authorization": f"Bearer {make()}"})
    for headers in HEADERS:
        where = f"header {next(iter(headers))}"
        ask(where, {"authorization": f"Bearer {token()}", **headers})
        ask(where, headers)
    for at, body in enumerate(BODIES):
        for headers in ({}, {"authorization": f"Bearer {token()}"}):
            ask(f"body {at}", headers, body)
    ask("query", {}, query=f"?access_token={CANARY}&key=psk_{CANARY}")
    for fields in ((f"Authorization: Bearer {CANARY}",) * 2, (f"X Y: {CANARY}",), (f"Authorization : {CANARY}",)):
        with RawClient(gateway.address) as client:
            answer = client.ask(post(b"{}", "/v2/models/m/infer", *fields))
            scan.note(f"raw: {answer.status}", answer.body)
    over_h2(gateway, [("authorization", f"Bearer {CANARY}")])
    over_h2(gateway, [("x-api-key", CANARY), ("authorization", CANARY)])


def over_grpc(gateway: Gateway, scan: Scan) -> None:
    message = pb.ModelInferRequest(model_name="m")
    message.parameters["api_key"].string_param = CANARY
    metadata: list[Sequence[tuple[str, Any]]] = [
        *([("authorization", f"Bearer {make()}")] for make in TOKENS.values()),
        [("x-api-key", CANARY)],
        [("x-api-key-bin", CANARY.encode()), ("authorization", f"Bearer {token()}")],
        [("grpc-encoding-x", CANARY)],
        [("authorization", CANARY), ("authorization", CANARY)],
    ]
    with Stub(gateway) as stub:
        for pairs in metadata:
            for method, sent in (("ModelInfer", message), ("ModelMetadata", pb.ModelMetadataRequest(name="m"))):
                code, text, trailers = stub.call(method, sent, pairs)
                scan.note(f"{method}: {code}", f"{text} {trailers}")
            try:
                for answer in stub.stub.ModelStreamInfer(iter([message]), metadata=pairs, timeout=20):
                    scan.note("stream", answer.error_message)
            except grpc.RpcError as error:
                scan.note("stream", f"{error.details()} {error.trailing_metadata()}")


def test_a9_a_canary_is_nowhere(world: tuple[Gateway, ModelServer]) -> None:
    gateway, _ = world
    scan = Scan()
    over_rest(gateway, scan)
    over_grpc(gateway, scan)
    wait_for_reports(gateway)
    for page in PAGES:
        scan.note(f"page {page}", gateway.admin(page)[1])
    log = gateway.log.read_text()
    assert {json.loads(line)["level"] for line in log.splitlines() if line.startswith("{")} >= {"debug", "warning"}
    for line in log.splitlines():
        scan.note(f"log {line[:60]}", line)
    assert len(scan.said) > 200
    assert scan.found() == []


def test_no_credential_reaches_an_endpoint(world: tuple[Gateway, ModelServer]) -> None:
    gateway, server = world
    server.calls.clear()
    good = token(canary=CANARY)
    headers = {"authorization": f"Bearer {good}", "cookie": CANARY, "x-request-id": "r-1", "x-other": "passes"}
    body = json.dumps(GOOD).encode()
    assert rest(gateway.address, "POST", "/v2/models/m/infer", body, headers).status == 200
    (seen,) = (metadata for name, _, metadata in server.calls if name == "ModelInfer")
    assert (seen["x-request-id"], seen["x-other"]) == ("r-1", "passes")
    assert not [name for name, value in seen.items() if CANARY in value or good in value or "authorization" in name]


def test_the_scan_finds_what_is_there() -> None:
    scan = Scan()
    scan.note("nothing", "nothing")
    for form in (
        f"xx{CANARY}yy",
        base64.b64encode(f"Bearer {CANARY}!".encode()),
        CANARY.encode().hex(),
        CANARY.upper(),
    ):
        scan.note("here", form)
    assert scan.found() == ["here"] * 4
