"""P3: where no route takes a model, and where one does that is not for the caller, the answers are the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.support.gateway import Gateway
from tests.support.guarded import BODY, Stub, jwt_policy, pb, request
from tests.support.issuer import token
from tests.support.model_server import model_server
from tests.support.rest import rest

BOB = {"authorization": f"Bearer {token(sub='bob')}"}
HIDDEN, UNKNOWN = "hidden-m", "nosuch-m"
"""As long as each other, so that lengths agree."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The listener asks who calls, so that strangers learn nothing; one route is for alice only."""
    staff = jwt_policy(tmp_path_factory.mktemp("issuer"))
    rights = {"kind": "authorize", "allow": [{"principals": "alice"}]}
    split = {"a": {"pool": "tritons", "model": "m", "weight": 1}, "b": {"pool": "tritons", "model": "m", "weight": 1}}
    routes = [{"name": "secret-route", "match": {"model": HIDDEN}, "split": {"variants": split}, "policies": [rights]}]
    with (
        model_server() as server,
        Gateway([server.address], listen={"policies": [staff]}, settings={"routes": routes}) as running,
    ):
        yield running


def twice(ask: Any) -> tuple[Any, Any]:
    """What is answered of both, with the name of the one in place of that of the other."""
    return tuple(json.loads(json.dumps(ask(model)).replace(UNKNOWN, HIDDEN)) for model in (HIDDEN, UNKNOWN))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/infer"), ("POST", "/generate"), ("POST", "/generate_stream"), ("POST", "/versions/3/infer"),
        ("GET", ""), ("GET", "/config"), ("GET", "/stats"), ("GET", "/ready"), ("GET", "/versions/3"),
    ],
)  # fmt: skip
def test_over_rest(gateway: Gateway, method: str, path: str) -> None:
    body = BODY if "infer" in path else b'{"INPUT0": 1}' if method == "POST" else b""

    def ask(model: str) -> Any:
        answer = rest(gateway.address, method, f"/v2/models/{model}{path}", body, BOB)
        return answer.status, sorted(answer.headers.items()), answer.body.decode()

    hidden, unknown = twice(ask)
    assert hidden == unknown
    assert hidden[0] in (400, 404)


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelReady"])
def test_over_grpc(gateway: Gateway, method: str) -> None:
    with Stub(gateway) as stub:

        def ask(model: str) -> Any:
            message = request(model) if method == "ModelInfer" else getattr(pb, f"{method}Request")(name=model)
            code, text, trailers = stub.call(method, message, list(BOB.items()))
            return code, text, sorted(trailers.items())

        hidden, unknown = twice(ask)
        assert hidden == unknown


def test_in_streams(gateway: Gateway) -> None:
    with Stub(gateway) as stub:

        def ask(model: str) -> Any:
            call = stub.stub.ModelStreamInfer(iter([request(model)]), metadata=list(BOB.items()), timeout=20)
            try:
                said = [answer.error_message for answer in call]
            except grpc.RpcError as error:
                said = [error.details()]
            return said, call.code().name, sorted(call.initial_metadata()), sorted(call.trailing_metadata())

        hidden, unknown = twice(ask)
        assert hidden == unknown


def test_strangers_learn_as_little(gateway: Gateway) -> None:
    def ask(model: str) -> Any:
        answer = rest(gateway.address, "POST", f"/v2/models/{model}/infer", BODY)
        return answer.status, sorted(answer.headers.items()), answer.body.decode()

    hidden, unknown = twice(ask)
    assert hidden == unknown
    assert hidden[0] == 401


def test_alice_is_told_where_her_request_went(gateway: Gateway) -> None:
    alice = {"authorization": f"Bearer {token()}"}
    answer = rest(gateway.address, "POST", f"/v2/models/{HIDDEN}/infer", BODY, alice)
    assert (answer.status, answer.headers["penstock-route"]) == (200, "secret-route")
