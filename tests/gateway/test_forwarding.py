"""Which headers travel on."""

from __future__ import annotations

import pytest
from hpack import Decoder

from config.forms import FORMS
from gateway.forwarding import HeaderForwarding
from gateway.ingress.exchange import Memo, Request
from gateway.ingress.grpc_head import Head
from transcoding.http2.headers import HeaderBlock
from transcoding.metadata import _NEVER, Forwarding

HEADERS = {b"traceparent": b"00-1-2-01", b"x-tenant-id": b"t", b"authorization": b"secret", b"x-other": b"o"}

GOOD = (None, None, -1, False)  # what the rules of HTTP/2 say of the block


def request(headers: dict[bytes, bytes]) -> Request:
    return Request(b"POST", b"/", headers, b"")


def decoded(fragment: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in Decoder().decode(fragment, raw=True)]


def a_head(fields: dict[bytes, bytes]) -> Head:
    return Head(HeaderBlock((*fields.items(),), GOOD))


def test_the_default_list() -> None:
    assert decoded(HeaderForwarding().fragment(request(HEADERS), ())) == [(b"traceparent", b"00-1-2-01")]


def test_what_the_listener_adds() -> None:
    fields = decoded(HeaderForwarding().fragment(request(HEADERS), ("x-tenant-*", "x-request-id")))
    assert fields == [(b"traceparent", b"00-1-2-01"), (b"x-tenant-id", b"t")]


def test_nothing_is_nothing() -> None:
    assert HeaderForwarding().fragment(request({b"accept": b"*/*"}), ()) == b""


def test_metadata_of_a_head_is_kept_with_it() -> None:
    forwarding, head = HeaderForwarding(), a_head(HEADERS)
    first = forwarding.of_head(head, ())
    assert decoded(first) == [(b"traceparent", b"00-1-2-01")]
    assert forwarding.of_head(head, ()) is first
    assert len(decoded(forwarding.of_head(head, ("x-*",)))) == 3


def test_a_list_is_learnt_before_it_is_needed() -> None:
    forwarding = HeaderForwarding()
    forwarding.prepare(("x-a",))
    with pytest.raises(ValueError, match="header 'authorization' may not be forwarded"):
        forwarding.prepare(("authorization",))


@pytest.mark.parametrize(
    "name",
    [
        *sorted(name.decode() for name in _NEVER),
        *("grpc-timeout", "triton-grpc-protocol-x", "x-forwarded-for", "X-Forwarded-Host", ":path"),
        *(
            "x-a",
            "X-A",
            "x-tenant-*",
            "*",
            "x*y",
            "*x",
            "x!",
            "x a",
            "",
            "auth*",
            "cookie*",
            "x_y.z",
            "te*",
            "x-forwarded-*",
        ),
    ],
)
def test_what_a_configuration_may_list_can_be_forwarded(name: str) -> None:
    try:
        FORMS["header"].read(name)
    except ValueError:
        return
    Forwarding([name])


def test_the_fragment_of_a_head_that_repeats_is_kept_with_it() -> None:
    forwarding, first = HeaderForwarding(), request(HEADERS)
    first.memo = Memo()
    fragment = forwarding.fragment(first, ())
    again = request({})
    again.memo = first.memo
    assert forwarding.fragment(again, ()) is fragment
