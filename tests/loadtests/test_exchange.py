"""Addresses and exchanges."""

from __future__ import annotations

from loadtests.exchange import Address
from loadtests.payloads import small


def test_address_reads_as_host_and_port() -> None:
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"


def test_only_grpc_goes_over_http2() -> None:
    assert small("grpc").grpc
    assert not small("proto_json").grpc
