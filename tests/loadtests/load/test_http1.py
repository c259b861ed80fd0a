"""The HTTP/1.1 client of the own generator."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.exchange import Address, Exchange
from loadtests.load.client import LoadError
from loadtests.load.http1 import Http1Client, render
from tests.loadtests.load.test_client import Transport

ADDRESS = Address("127.0.0.1", 8000)
EXCHANGE = Exchange("oip_json", "/v2", (("content-type", "application/json"),), b"{}", lambda headers, body: None)


def test_request_bytes() -> None:
    assert render(EXCHANGE, ADDRESS) == (
        b"POST /v2 HTTP/1.1\r\nhost: 127.0.0.1:8000\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_replies_in_any_pieces(step: int) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    plain = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"

    async def scenario() -> None:
        client = Http1Client(EXCHANGE, ADDRESS)
        client.connection_made(Transport())
        for wire, status, body in ((chunked, 200, b"abcde"), (plain, 503, b"no")):
            waiting = client.ask()
            for at in range(0, len(wire), step):
                client.data_received(wire[at : at + step])
            reply = await waiting
            assert (reply.status, reply.body) == (status, body)

    asyncio.run(scenario())


def test_what_is_not_http_is_an_error() -> None:
    async def scenario() -> None:
        client = Http1Client(EXCHANGE, ADDRESS)
        client.connection_made(Transport())
        waiting = client.ask()
        client.data_received(b"\x00\x00\x18\x04nonsense")
        with pytest.raises(LoadError, match=r"not an HTTP/1\.1 reply"):
            await waiting

    asyncio.run(scenario())
