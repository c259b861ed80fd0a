"""The row of idle connections at a small scale, with a scripted server."""

from __future__ import annotations

import resource
import time

import pytest

from loadtests.exchange import Address
from loadtests.load.client import LoadError
from loadtests.workloads.idle import ask, idle_connections, raise_file_limit
from tests.support.scripted_server import http_reply, scripted_server


def test_idle_connections_have_served_a_request_and_serve_another() -> None:
    with scripted_server(http_reply(b"")) as server:
        address = Address("127.0.0.1", server.port)
        with idle_connections(address, 20) as sockets:
            assert server.requests == 20
            assert len({one.getsockname()[0] for one in sockets}) == 8
            for one in sockets:
                ask(one, address)
        assert server.requests == 40


def test_a_connection_that_was_closed_is_an_error() -> None:
    with scripted_server(http_reply(b""), closes=True) as server:
        address = Address("127.0.0.1", server.port)
        with idle_connections(address, 1) as [one]:
            time.sleep(0.1)
            with pytest.raises((LoadError, ConnectionError)):
                ask(one, address)


def test_an_error_answer_is_an_error() -> None:
    with scripted_server(http_reply(b"", "503 Service Unavailable")) as server:
        connections = idle_connections(Address("127.0.0.1", server.port), 1)
        with pytest.raises(LoadError, match="503"):
            connections.__enter__()


def test_too_low_a_limit_says_what_to_do() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this system has no limit of open files")
    with pytest.raises(LoadError, match="ulimit -n"):
        raise_file_limit(hard + 1)
