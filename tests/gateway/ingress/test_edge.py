"""Which protocol a connection speaks, told by ALPN or by its first bytes, and connections that never say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import Deadlines, Limits
from gateway.ingress.edge import Edge
from gateway.ingress.http1 import Http1
from gateway.ingress.http2 import Http2
from tests.support.ingress import ADDRESS, Ingress, MemoryTransport, an_ingress
from tests.support.raw_client import get
from tests.support.rude_http2 import headers, request_headers
from transcoding.http2 import frames as fr

REQUEST = headers(1, request_headers("/h2", method="GET"), True)
ACCEPTED = "penstock_connections_accepted_total"
GREETING = fr.PREFACE + fr.settings_frame(()) + fr.SETTINGS_ACK


def say(ingress: Ingress, transport: MemoryTransport, data: bytes) -> None:
    transport.send(data)
    ingress.settle()


class TestFirstBytes:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 23, 24, 25, 1000])
    def test_a_preface_in_pieces_is_http_2(self, size: int) -> None:
        conversation = GREETING + REQUEST
        with an_ingress() as ingress:
            transport = ingress.accept()
            for at in range(0, len(conversation), size):
                assert isinstance(transport.protocol, Edge if at < len(fr.PREFACE) else Http2)
                say(ingress, transport, conversation[at : at + size])
            assert ingress.service.targets == ["/h2"]

    @pytest.mark.parametrize("first", ["GET", "POST", "PUT", "PATCH", "HEAD"])
    def test_a_request_byte_by_byte_is_http_1(self, first: str) -> None:
        with an_ingress() as ingress:
            transport = ingress.accept()
            request = get("/", method=first)
            for at in range(len(request)):
                say(ingress, transport, request[at : at + 1])
                alike = fr.PREFACE.startswith(request[: at + 1])
                assert isinstance(transport.protocol, Edge if alike else Http1)
            assert ingress.service.targets == ["/"]

    @pytest.mark.parametrize("at", range(len(fr.PREFACE)))
    def test_a_preface_with_a_wrong_byte_is_bad_http_1(self, at: int) -> None:
        wrong = bytearray(fr.PREFACE)
        wrong[at] ^= 1
        with an_ingress() as ingress:
            transport = ingress.accept()
            for byte in wrong + b"\r\n\r\n":
                if transport.open:
                    say(ingress, transport, bytes((byte,)))
            assert transport.written.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 ", b"HTTP/1.1 505 "))
            assert ingress.service.targets == []

    @given(st.binary(max_size=30), st.booleans(), st.integers(1, 10))
    def test_any_bytes_are_given_on_whole(self, data: bytes, preface: bool, size: int) -> None:
        data = fr.PREFACE + data if preface else data
        with an_ingress() as ingress:
            transport = ingress.accept()
            for at in range(0, len(data), size):
                transport.send(data[at : at + size])
            http2 = data.startswith(fr.PREFACE)
            undecided = not http2 and fr.PREFACE.startswith(data)
            accepted = [ingress.counted(ACCEPTED, "test", each) for each in ("http1", "http2")]
            assert accepted == [not undecided and not http2, http2]
            assert ingress.listener.received.value == (0 if undecided else len(data))


class TestAlpn:
    def test_h2_needs_no_bytes(self) -> None:
        with an_ingress() as ingress:
            transport = ingress.accept("h2")
            assert isinstance(transport.protocol, Http2)
            assert transport.written  # SETTINGS, which the server may send first
            say(ingress, transport, GREETING + REQUEST)
            assert ingress.service.targets == ["/h2"]

    @pytest.mark.parametrize("alpn", ["http/1.1", ""])
    def test_others_are_told_by_their_first_bytes(self, alpn: str) -> None:
        with an_ingress() as ingress:
            transport = ingress.accept(alpn)
            assert isinstance(transport.protocol, Edge)
            say(ingress, transport, get("/"))
            assert ingress.service.targets == ["/"]


class TestPlaces:
    def test_a_connection_takes_one_place_whatever_it_becomes(self) -> None:
        with an_ingress(Limits(connections_per_address=5)) as ingress:
            for first in (b"", b"PRI", GREETING, get("/")):
                say(ingress, ingress.accept(), first)
            assert len(ingress.listener.connections) == ingress.listener.addresses[ADDRESS] == 4
            assert [ingress.counted(ACCEPTED, "test", each) for each in ("http1", "http2")] == [1, 1]

    def test_one_too_many_is_closed_at_once(self) -> None:
        with an_ingress(Limits(connections=1)) as ingress:
            first, second = ingress.accept(), ingress.accept()
            assert (first.aborted, second.aborted) == (False, True)
            second.protocol.data_received(get("/"))
            assert (ingress.service.targets, ingress.counted("penstock_refused_total", "connections")) == ([], 1)
            first.lose()
            assert not ingress.accept().aborted

    def test_a_place_is_given_back_before_anything_was_said(self) -> None:
        with an_ingress(Limits(connections_per_address=1)) as ingress:
            for _ in range(3):
                transport = ingress.accept()
                assert not transport.aborted
                transport.lose()
            assert ingress.listener.connections == set()

    def test_the_place_of_a_handshake_is_taken_over(self) -> None:
        with an_ingress(Limits(connections=1, connections_per_address=1)) as ingress:
            transport = ingress.transport()
            handshake = Edge(ingress.listener)  # anything that may be open
            assert ingress.listener.admit(handshake, ADDRESS)
            transport.protocol = Edge(ingress.listener, handshake)
            transport.protocol.connection_made(transport)
            assert ingress.listener.connections == {transport.protocol}
            assert not transport.aborted

    def test_a_peer_without_an_address(self) -> None:
        with an_ingress() as ingress:
            transport = ingress.transport(peername="/run/socket")
            transport.protocol = Edge(ingress.listener)
            transport.protocol.connection_made(transport)
            say(ingress, transport, get("/"))
            assert ingress.service.targets == ["/"]


class TestTime:
    def test_nothing_said_in_time(self) -> None:
        with an_ingress(deadlines=Deadlines(header=2.0)) as ingress:
            silent, hesitant = ingress.accept(), ingress.accept()
            say(ingress, hesitant, b"P")
            ingress.wait(1.9)
            assert silent.open
            say(ingress, hesitant, b"R")  # buys no time
            ingress.wait(0.2)
            assert (silent.lost, hesitant.lost) == (True, True)
            assert silent.written + hesitant.written == b""

    @pytest.mark.parametrize("before", [False, True], ids=["while it is open", "before it came"])
    def test_draining_leaves_a_second_for_a_request_that_is_on_its_way(self, before: bool) -> None:
        with an_ingress() as ingress:
            if before:
                ingress.listener.start_draining()
            silent, late = ingress.accept(), ingress.accept()
            ingress.listener.start_draining()
            ingress.wait(0.9)
            say(ingress, late, get("/"))
            assert late.written.startswith(b"HTTP/1.1 200 ")
            ingress.wait(0.2)
            assert silent.lost
            assert late.lost
