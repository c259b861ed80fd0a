"""The gRPC client of the own generator, against python-hyper's h2 as the server."""

from __future__ import annotations

import asyncio

import h2.config
import h2.connection
import h2.events
import pytest

from loadtests.exchange import Address, Exchange
from loadtests.load.client import LoadError, Reply
from loadtests.load.http2 import Http2Client
from tests.loadtests.load.test_client import Transport

ADDRESS = Address("127.0.0.1", 8001)
HEADERS = (("content-type", "application/grpc"), ("te", "trailers"))


def exchange(size: int = 10) -> Exchange:
    return Exchange("grpc", "/service/Method", HEADERS, b"q" * size, lambda headers, body: None)


class Server:
    """h2 on the other end of a transport that only remembers."""

    def __init__(self, client: Http2Client) -> None:
        self.client, self.transport = client, Transport()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.bodies: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.headers: dict[str, str] = {}
        client.connection_made(self.transport)

    def step(self, piece: int = 10_000) -> None:
        """Hand everything over, both ways; what goes to the client in pieces."""
        for event in self.h2.receive_data(b"".join(self.transport.written)):
            if isinstance(event, h2.events.RequestReceived):
                self.headers = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.append(event.stream_id)
        self.transport.written.clear()
        wire = self.h2.data_to_send()
        for at in range(0, len(wire), piece):
            self.client.data_received(wire[at : at + piece])

    def answer(self, body: bytes, status: str = "0") -> None:
        stream = self.ended[-1]
        self.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        self.h2.send_data(stream, body)
        self.h2.send_headers(stream, [("grpc-status", status)], end_stream=True)


async def call(server: Server, body: bytes, piece: int) -> Reply:
    waiting = server.client.ask()
    server.step(piece)
    server.answer(body)
    server.step(piece)
    return await waiting


@pytest.mark.parametrize("piece", [1, 5, 10_000])
@pytest.mark.parametrize("size", [0, 10, 16_384, 30_000])
def test_calls_one_after_another(piece: int, size: int) -> None:
    async def scenario() -> None:
        server = Server(Http2Client(exchange(size), ADDRESS))
        for number in range(3):
            reply = await call(server, b"answer %d" % number, piece)
            assert (reply.status, reply.body) == (200, b"answer %d" % number)
            assert reply.headers["grpc-status"] == "0"
        assert server.ended == [1, 3, 5]
        assert server.headers[":path"] == "/service/Method"
        assert server.headers["te"] == "trailers"
        assert {len(server.bodies.get(stream, b"")) for stream in server.ended} == {size}

    asyncio.run(scenario())


def test_the_greeting_comes_before_any_acknowledgement() -> None:
    async def scenario() -> None:
        server = Server(Http2Client(exchange(), ADDRESS))
        server.step()
        server.step()
        assert (await call(server, b"late", 10_000)).body == b"late"

    asyncio.run(scenario())


def test_pings_are_answered() -> None:
    async def scenario() -> None:
        server = Server(Http2Client(exchange(), ADDRESS))
        server.h2.ping(b"12345678")
        server.step()
        assert b"".join(server.transport.written).endswith(b"12345678")

    asyncio.run(scenario())


def test_a_reset_fails_the_call() -> None:
    async def scenario() -> None:
        server = Server(Http2Client(exchange(), ADDRESS))
        waiting = server.client.ask()
        server.step()
        server.h2.reset_stream(1)
        server.step()
        with pytest.raises(LoadError, match="RST_STREAM"):
            await waiting

    asyncio.run(scenario())


def test_a_body_that_needs_flow_control_is_refused() -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="flow control"):
            Http2Client(exchange(70_000), ADDRESS)

    asyncio.run(scenario())
