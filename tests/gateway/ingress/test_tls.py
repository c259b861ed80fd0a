"""A listener with TLS: REST and gRPC by ALPN, versions, and certificates of clients."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from tritonclient.grpc import service_pb2_grpc

from config.routes import PolicySpec
from config.schema import Deadlines, Tls
from tests.support.acting import Acting, act
from tests.support.data_plane import PlaneThread, a_listener, a_plane, a_route
from tests.support.deadline import until
from tests.support.model_server import ModelServer, model_server, numbers_of, request_of

DOCUMENT = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [1]}]}


class Certificates:
    """A CA, the server's certificate and a client's, and one that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.client = self.authority.issue_cert("client@example.org")
        self.stranger = trustme.CA().issue_cert("stranger@example.org")
        server = self.authority.issue_cert("localhost", "127.0.0.1")
        self.certificate, self.key, self.ca = folder / "server.pem", folder / "server.key", folder / "ca.pem"
        for number, blob in enumerate(server.cert_chain_pems):
            blob.write_to_path(self.certificate, append=number > 0)
        server.private_key_pem.write_to_path(self.key)
        self.authority.cert_pem.write_to_path(self.ca)

    def tls(self, **more: Any) -> Tls:
        return Tls(certificate=str(self.certificate), key=str(self.key), **more)

    def context(self, *protocols: str, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        context.set_alpn_protocols(list(protocols))
        if client is not None:
            client.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def plane(server: ModelServer, certificates: Certificates) -> Iterator[PlaneThread]:
    """Listener 0 takes any client, 1 only those with a certificate, 2 only TLS 1.3, 3 those with a good one or none."""
    ca = str(certificates.ca)
    tls = [certificates.tls(), certificates.tls(client_ca=ca), certificates.tls(min_version="1.3"),
           certificates.tls(client_ca=ca, client_certificate="optional")]  # fmt: skip
    deadlines = Deadlines(handshake=0.5)
    listen = [a_listener(str(at), tls=each, deadlines=deadlines) for at, each in enumerate(tls)]
    with a_plane(server.address, listen=listen) as running:
        yield running


def rest(plane: PlaneThread, context: ssl.SSLContext, listener: int = 0) -> int:
    connection = http.client.HTTPSConnection("127.0.0.1", plane.port(listener), timeout=10, context=context)
    try:
        connection.request("POST", "/v2/models/m/infer", json.dumps(DOCUMENT))
        reply = connection.getresponse()
        assert json.loads(reply.read())["outputs"][0]["data"] == [1]
        return reply.status
    finally:
        connection.close()


def rpc(plane: PlaneThread, certificates: Certificates, listener: int = 0, leaf: trustme.LeafCert | None = None) -> Any:
    credentials = grpc.ssl_channel_credentials(
        certificates.authority.cert_pem.bytes(),
        leaf and leaf.private_key_pem.bytes(),
        leaf and leaf.cert_chain_pems[0].bytes(),
    )
    with grpc.secure_channel(f"127.0.0.1:{plane.port(listener)}", credentials) as channel:
        return service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request_of(), timeout=10)


def handshake(plane: PlaneThread, context: ssl.SSLContext, listener: int = 0) -> tuple[str | None, str | None]:
    """The protocol that ALPN chose and the TLS version."""
    with (
        socket.create_connection(("127.0.0.1", plane.port(listener)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        return wrapped.selected_alpn_protocol(), wrapped.version()


def test_rest_and_grpc_on_one_port(plane: PlaneThread, certificates: Certificates) -> None:
    assert rest(plane, certificates.context("http/1.1")) == 200
    assert rest(plane, certificates.context()) == 200
    assert numbers_of(rpc(plane, certificates)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"), (("spdy/3",), None)],
)
def test_what_is_chosen_of_what_a_client_offers(
    plane: PlaneThread, certificates: Certificates, offered: tuple[str, ...], chosen: str | None
) -> None:
    assert handshake(plane, certificates.context(*offered))[0] == chosen


def test_a_clients_certificate_is_required(plane: PlaneThread, certificates: Certificates) -> None:
    assert rest(plane, certificates.context(client=certificates.client), listener=1) == 200
    assert numbers_of(rpc(plane, certificates, 1, certificates.client)) == [1, 2, 3]
    for leaf in (None, certificates.stranger):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            rest(plane, certificates.context(client=leaf), listener=1)
        with pytest.raises(grpc.RpcError) as caught:
            rpc(plane, certificates, 1, leaf)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_clients_certificate_that_is_optional_must_be_good(plane: PlaneThread, certificates: Certificates) -> None:
    for leaf in (None, certificates.client):
        assert rest(plane, certificates.context(client=leaf), listener=3) == 200
        assert numbers_of(rpc(plane, certificates, 3, leaf)) == [1, 2, 3]
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        rest(plane, certificates.context(client=certificates.stranger), listener=3)


class Notes(Acting):
    """Notes the certificate of each call."""

    needs_view = True

    def __init__(self) -> None:
        super().__init__(lambda call: self.found.append(call.view and call.view.certificate))
        self.found: list[Any] = []


def test_policies_see_what_a_verified_certificate_says(
    server: ModelServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    act(monkeypatch, notes=notes)
    listen = [
        a_listener(str(at), tls=certificates.tls(client_ca=ca)) for at, ca in enumerate((None, str(certificates.ca)))
    ]
    with a_plane(server.address, listen=listen, routes=[a_route(policies=(PolicySpec("notes"),))]) as plane:
        context = certificates.context("http/1.1", client=certificates.client)
        assert [rest(plane, context, listener=each) for each in (0, 1)] == [200, 200]
        rpc(plane, certificates, 1, certificates.client)
        nobody, over_rest, over_grpc = notes.found
        assert nobody is None
        assert over_rest == over_grpc
        der = ssl.PEM_cert_to_DER_cert(certificates.client.cert_chain_pems[0].bytes().decode())
        assert over_rest.fingerprint == hashlib.sha256(der).hexdigest()


def test_versions_that_are_too_old(plane: PlaneThread, certificates: Certificates) -> None:
    context = certificates.context()
    assert handshake(plane, context, listener=2)[1] == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(plane, context)[1] == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        handshake(plane, context, listener=2)


def test_a_client_that_does_not_speak_tls(plane: PlaneThread) -> None:
    with socket.create_connection(("127.0.0.1", plane.port()), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            assert not client.recv(1000).startswith(b"HTTP/")
        except ConnectionError:
            return


def test_a_handshake_that_does_not_come_is_ended(plane: PlaneThread) -> None:
    with socket.create_connection(("127.0.0.1", plane.port()), timeout=10) as client:
        try:
            assert client.recv(1) == b""
        except ConnectionError:
            return
    until(lambda: not plane.counted("penstock_connections"), 5)
