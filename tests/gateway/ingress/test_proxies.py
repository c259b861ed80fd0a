"""The client's address is that of the right-most hop that nobody trusts, whatever a client writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.routes import PolicySpec
from gateway.ingress.proxies import MOST_HOPS, Proxies
from tests.support.acting import Acting, act
from tests.support.data_plane import a_listener, a_plane, a_route
from tests.support.model_server import model_server, request_of

PROXIES = Proxies(["10.0.0.0/8", "192.0.2.7", "fd00::/8"])
DOCUMENT = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [1]}]}


def client(address: str, forwarded: str | None = None) -> str:
    headers = {} if forwarded is None else {b"x-forwarded-for": forwarded.encode("latin-1")}
    return PROXIES.client(address, headers)


@pytest.mark.parametrize(
    ("address", "forwarded", "found"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2,192.0.2.7", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("192.0.2.7", "203.0.113.9:4711", "203.0.113.9"),
        ("192.0.2.7", "[2001:db8::1]:4711", "2001:db8::1"),
        ("fd00::1", "2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "1.1.1.1", "::ffff:203.0.113.9"),
        ("10.0.0.1", "nobody", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "203.0.113.9,", "10.0.0.1"),
        ("10.0.0.1", "1" * 100, "10.0.0.1"),
        ("", "203.0.113.9", ""),
    ],
)
def test_the_clients_address(address: str, forwarded: str | None, found: str) -> None:
    assert client(address, forwarded) == found
    assert client(address, forwarded) == found


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=200))
def test_what_a_client_writes_makes_no_difference(written: str) -> None:
    assert client("203.0.113.9", written) == "203.0.113.9"
    assert client("10.0.0.1", f"{written}, 203.0.113.9") == "203.0.113.9"


def test_a_long_list_is_read_from_its_end() -> None:
    hops = ", ".join(["203.0.113.9"] + ["10.0.0.2"] * 2 * MOST_HOPS)
    assert client("10.0.0.1", hops) == "10.0.0.2"


class Notes(Acting):
    """Notes the address and the listener of each call."""

    needs_view = True

    def __init__(self) -> None:
        super().__init__(lambda call: self.found.append((call.view.address, call.view.listener)))  # type: ignore[union-attr]
        self.found: list[tuple[str, str]] = []


def test_only_the_listener_that_is_told_to_believes_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()
    act(monkeypatch, notes=notes)
    listen = [a_listener("public"), a_listener("behind", trusted_proxies=("127.0.0.0/8",))]
    with model_server() as server, a_plane(
        server.address, listen=listen, routes=[a_route(policies=(PolicySpec("notes"),))]
    ) as plane:  # fmt: skip
        headers = {"X-Forwarded-For": "1.1.1.1, 203.0.113.9", "X-Real-IP": "1.1.1.1", "Forwarded": "for=1.1.1.1"}
        for listener in (0, 1):
            answer = plane.request("POST", "/v2/models/m/infer", json.dumps(DOCUMENT).encode(), headers, listener)
            assert answer.status == 200
            metadata = [(name.lower(), value) for name, value in headers.items()]
            plane.stub(listener=listener).ModelInfer(request_of(), metadata=metadata, timeout=10)
        assert notes.found == 2 * [("127.0.0.1", "public")] + 2 * [("203.0.113.9", "behind")]
        sent = {name for _, _, metadata in server.calls for name in metadata}
        assert not [name for name in sent if name.startswith(("x-forwarded", "forwarded", "x-real"))]
