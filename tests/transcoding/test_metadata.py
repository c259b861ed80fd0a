"""Which header fields stay and which go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.metadata import Forwarding, may_be_forwarded, strip_hop_by_hop


def test_hop_by_hop_fields_are_stripped() -> None:
    fields = [
        (b"Connection", b"keep-alive, X-Mine"),
        (b"Keep-Alive", b"1"),
        (b"x-mine", b"1"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"Proxy-Authorization", b"x"),
        (b"X-Other", b"2"),
    ]
    assert strip_hop_by_hop(fields) == [(b"X-Other", b"2")]


def test_trace_context_goes_on_by_default() -> None:
    fields = [
        (b"Traceparent", b"00-1-2-01"),
        (b"tracestate", b"a=b"),
        (b"Baggage", b"k=v"),
        (b"X-Request-Id", b"7"),
        (b"x-anything", b"1"),
    ]
    assert Forwarding().choose(fields) == [
        (b"traceparent", b"00-1-2-01"),
        (b"tracestate", b"a=b"),
        (b"baggage", b"k=v"),
        (b"x-request-id", b"7"),
    ]


def test_configured_names_and_prefixes_go_on() -> None:
    forwarding = Forwarding(["X-Fwd-Foo", "x-tenant-*", "key-bin"])
    fields = [(b"x-fwd-foo", b"a"), (b"X-Tenant-Name", b"b"), (b"x-tenant", b"c"), (b"key-bin", b"AAE=")]
    assert forwarding.choose(fields) == [(b"x-fwd-foo", b"a"), (b"x-tenant-name", b"b"), (b"key-bin", b"AAE=")]
    assert forwarding.choose(fields) == forwarding.choose(fields)


NEVER = [
    "triton_grpc_error",
    "triton-grpc-protocol-key",
    "grpc-timeout",
    "grpc-encoding",
    "authorization",
    "Cookie",
    "connection",
    "te",
    "host",
    ":path",
    "x-forwarded-for",
    "content-type",
    "with space",
    "ünicode",
]


@pytest.mark.parametrize("name", NEVER)
def test_what_must_not_go_on_is_refused_in_the_configuration(name: str) -> None:
    with pytest.raises(ValueError, match="may not be forwarded to a worker"):
        Forwarding([name])


@pytest.mark.parametrize("name", NEVER)
def test_a_wildcard_lets_none_of_them_through(name: str) -> None:
    assert Forwarding(["*"]).choose([(name.lower().encode(), b"1"), (b"x", b"2")]) == [(b"x", b"2")]


@pytest.mark.parametrize("value", [b"a\r\nb", b"\x00", b"\xc3\xa9", b"a\tb", b"\x7f"])
def test_values_that_grpc_refuses_are_left_out(value: bytes) -> None:
    assert Forwarding().choose([(b"x-request-id", value), (b"x-request-id", b"ok")]) == [(b"x-request-id", b"ok")]


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=5)), max_size=8))
def test_what_goes_on_is_always_valid_metadata(fields: list[tuple[bytes, bytes]]) -> None:
    for name, value in Forwarding(["*"]).choose(fields):
        assert name
        assert name == name.lower()
        assert may_be_forwarded(name)
        assert all(0x20 <= byte < 0x7F for byte in value)


def test_names_are_remembered_within_bounds() -> None:
    forwarding = Forwarding()
    forwarding.choose([(b"x-%d" % number, b"1") for number in range(5000)])
    forwarding.choose([(b"x" * 100, b"1")])
    assert len(forwarding._decided) == 1024
    assert forwarding.choose([(b"BAGGAGE", b"1")]) == [(b"baggage", b"1")]
