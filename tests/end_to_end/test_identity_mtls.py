"""I12: client certificates say who calls, and nothing that only resembles one does."""

from __future__ import annotations

import datetime
import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from tritonclient.grpc import service_pb2_grpc

from tests.support.gateway import Gateway
from tests.support.guarded import BODY, jwt_policy, request
from tests.support.issuer import token
from tests.support.model_server import model_server

PATH = "/v2/models/m/infer"
MONTH = datetime.timedelta(days=30)


class Authority:
    """Who signs the certificates of clients, and of the gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.server = self._write("server", self.ca.issue_cert("localhost", "127.0.0.1"))

    def _write(self, name: str, issued: trustme.LeafCert) -> tuple[str, str]:
        files = str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")
        issued.private_key_and_cert_chain_pem.write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])
        return files

    def client(self, name: str, ca: trustme.CA | None = None, **options: Any) -> ssl.SSLContext:
        """A client's side of TLS with a certificate of this name."""
        context = self.without()
        context.load_cert_chain(*self._write(name, (ca or self.ca).issue_cert(name, **options)))
        return context

    def without(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def gateway(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with a_gateway(authority, tmp_path_factory.mktemp("issuer"), "required") as ours:
        yield ours


@contextmanager
def a_gateway(authority: Authority, issuer: Path, client_certificate: str) -> Iterator[Gateway]:
    """Of certificates and tokens, in this order."""
    callers = [{"principal": "*.web.example", "tenant": "web", "scopes": ["infer"]}]
    rules = [{"principals": "front.web.example", "tenants": "web", "scopes": "infer", "models": "m"}]
    mesh = {"kind": "mtls", "from": "san_dns", "callers": callers}
    routes = [
        {
            "name": "m",
            "match": {"model": "m"},
            "to": "tritons",
            "policies": [mesh, jwt_policy(issuer, tenant="tenant"), {"kind": "authorize", "allow": rules}],
        }
    ]
    certificate, key = authority.server
    ca = str(authority.folder / "ca.pem")
    tls = {"certificate": certificate, "key": key, "client_ca": ca, "client_certificate": client_certificate}
    with model_server() as server, Gateway([server.address], listen={"tls": tls}, settings={"routes": routes}) as ours:
        yield ours


def infer(gateway: Gateway, trust: ssl.SSLContext, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPSConnection("localhost", gateway.port, context=trust, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", PATH, BODY, named)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read()).get("error", "")
    finally:
        connection.close()


def test_a_known_holder(gateway: Gateway, authority: Authority) -> None:
    assert infer(gateway, authority.client("front.web.example"))[0] == 200


def test_over_grpc(gateway: Gateway, authority: Authority) -> None:
    authority.client("front.web.example")
    chain, key = (authority.folder / f"front.web.example.{end}" for end in ("pem", "key"))
    credentials = grpc.ssl_channel_credentials(
        (authority.folder / "ca.pem").read_bytes(), key.read_bytes(), chain.read_bytes()
    )
    with grpc.secure_channel(f"localhost:{gateway.port}", credentials) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        assert stub.ModelInfer(request("m"), timeout=20).model_name == "m"


def test_a_holder_of_other_rights_and_one_whom_nobody_knows(gateway: Gateway, authority: Authority) -> None:
    status, text = infer(gateway, authority.client("back.web.example"))
    assert (status, text) == (404, "Request for unknown model: 'm' is not found")
    assert infer(gateway, authority.client("web.example.evil.example")) == (
        401, "the client certificate is of nobody known here"
    )  # fmt: skip


def test_the_common_name_is_not_taken_for_a_name_of_the_alternatives(gateway: Gateway, authority: Authority) -> None:
    stranger = authority.client("evil.example", common_name="front.web.example")
    assert infer(gateway, stranger)[0] == 401


@pytest.mark.parametrize(
    "name",
    ["x-forwarded-client-cert", "x-client-cert", "ssl-client-cert", "x-ssl-client-s-dn", "x-amzn-mtls-clientcert"],
)
def test_i12_spoofed_certificates_are_nothing(gateway: Gateway, authority: Authority, name: str) -> None:
    spoof = 'Hash=00;Subject="CN=front.web.example";DNS=front.web.example'
    stranger = authority.client("stranger.example")
    assert infer(gateway, stranger, **{name: spoof})[0] == 401


def test_a_certificate_of_nobody_known_is_not_saved_by_a_good_token(gateway: Gateway, authority: Authority) -> None:
    stranger = authority.client("stranger.example")
    assert infer(gateway, stranger, authorization=f"Bearer {token()}")[0] == 401


@pytest.mark.parametrize("case", ["none", "of another authority", "expired"])
def test_what_is_not_verified_does_not_get_in(gateway: Gateway, authority: Authority, case: str) -> None:
    if case == "none":
        context = authority.without()
    elif case == "expired":
        past = datetime.datetime.now(datetime.UTC) - MONTH
        context = authority.client("front.web.example", not_after=past)
    else:
        context = authority.client("front.web.example", trustme.CA())
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        infer(gateway, context)


def test_who_may_come_without_one_shows_something_else(authority: Authority, tmp_path: Path) -> None:
    with a_gateway(authority, tmp_path, "optional") as ours:
        assert infer(ours, authority.client("front.web.example"))[0] == 200
        assert infer(ours, authority.without())[0] == 401
        held = token(sub="front.web.example", tenant="web", scope="infer")
        assert infer(ours, authority.without(), authorization=f"Bearer {held}")[0] == 200
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            infer(ours, authority.client("front.web.example", trustme.CA()), authorization=f"Bearer {held}")
