"""The keys of an issuer: storms, outages and rotation, through a whole gateway that reads them over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.deadline import until
from tests.support.fake_backend import FakeBackend
from tests.support.gateway import Gateway
from tests.support.issuer import AUDIENCE, ISSUER, jwks, public_jwk, token
from tests.support.rest import rest

BODY = b'{"inputs": [{"name": "IN", "datatype": "INT32", "shape": [2], "data": [1, 2]}]}'


class Issuer:
    """Publishes a document, counts who asks for it, and may be away."""

    def __init__(self) -> None:
        self.document: bytes | None = jwks()
        self.asked: list[str] = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                self.send_response(200 if issuer.document else 503)
                self.end_headers()
                self.wfile.write(issuer.document or b"away")

            def log_message(self, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    yield running
    running.close()


@pytest.fixture
def gateway(issuer: Issuer) -> Iterator[Gateway]:
    policy = {"kind": "jwt", "issuer": ISSUER, "audiences": AUDIENCE, "jwks_url": issuer.url}
    routes = [{"match": {"model": "*"}, "to": "tritons", "policies": [policy]}]
    with FakeBackend() as backend, Gateway([backend.address], settings={"routes": routes}) as running:
        yield running


def infer(gateway: Gateway, text: str) -> int:
    headers = {"authorization": f"Bearer {text}"}
    return rest(gateway.address, "POST", "/v2/models/echo/infer", BODY, headers).status


def test_i3_a_storm_of_unknown_keys_costs_the_issuer_next_to_nothing(gateway: Gateway, issuer: Issuer) -> None:
    assert issuer.asked == []
    assert infer(gateway, token()) == 200
    began = time.monotonic()
    for number in range(300):
        assert infer(gateway, token("ES256", kid=f"k{number}")) == 401
    assert infer(gateway, token()) == 200
    assert len(issuer.asked) <= 2 + (time.monotonic() - began) / 10
    assert set(issuer.asked) == {"/keys"}


def test_i1_no_token_makes_the_gateway_ask_anybody(gateway: Gateway, issuer: Issuer) -> None:
    assert infer(gateway, token()) == 200
    for name in ("jku", "x5u"):
        header = {name: issuer.url.replace("/keys", "/evil")}
        assert infer(gateway, token("RS256", number=1, header=header)) == 401
        assert infer(gateway, token(header=header, kid="../evil")) == 401
    assert "/evil" not in issuer.asked


def test_i4_known_keys_go_on_while_the_issuer_is_away(gateway: Gateway, issuer: Issuer) -> None:
    assert infer(gateway, token()) == 200
    issuer.document = None
    assert [infer(gateway, token(sub=f"u{number}")) for number in range(5)] == [200] * 5


def test_i4_without_any_keys_nobody_is_let_in_until_there_are(gateway: Gateway, issuer: Issuer) -> None:
    document, issuer.document = issuer.document, None
    answer = rest(gateway.address, "POST", "/v2/models/echo/infer", BODY, {"authorization": f"Bearer {token()}"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert infer(gateway, token("RS256", number=1)) == 503
    issuer.document = document
    until(lambda: infer(gateway, token()) == 200)


def test_rotation_is_noticed_by_the_first_token_of_the_new_key(gateway: Gateway, issuer: Issuer) -> None:
    assert infer(gateway, token()) == 200
    issuer.document = jwks(public_jwk("RS256", "k1"), public_jwk("ES256", "e9"))
    until(lambda: infer(gateway, token("ES256", "e9")) == 200, 15.0)
    assert infer(gateway, token()) == 200
