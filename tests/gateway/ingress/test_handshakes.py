"""Listening sockets of the kernel: what waits to be accepted, and what no longer gets that far."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.ingress.handshakes import refuse_handshakes, unaccepted
from tests.support.deadline import until


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def connecting(listening: socket.socket) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(listening.getsockname())
    return client


def connected(client: socket.socket) -> bool:
    try:
        client.getpeername()
    except OSError:
        return False
    return True


def test_connections_wait_until_they_are_accepted(listening: socket.socket) -> None:
    with connecting(listening), connecting(listening):
        assert until(lambda: unaccepted(listening) == 2)
        listening.accept()[0].close()
        assert unaccepted(listening) == 1


def test_new_handshakes_are_ignored_and_old_connections_work(listening: socket.socket) -> None:
    with connecting(listening) as early:
        until(lambda: unaccepted(listening) == 1)
        refuse_handshakes(listening)
        with connecting(listening) as late:
            early.sendall(b"hello")
            made, _ = listening.accept()
            with made:
                assert made.recv(5) == b"hello"
                made.sendall(b"there")
                until(lambda: early.recv(5, socket.MSG_PEEK))
            assert early.recv(5) == b"there"
            assert not connected(late)
            assert unaccepted(listening) == 0
