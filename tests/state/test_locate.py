"""A real sentinel says who the master is, and who it is after the master went."""

from __future__ import annotations

import asyncio

import pytest

from state import StateError
from state.locate import locate, tls_options
from state.settings import Settings, Tls
from tests.support.deadline import eventually
from tests.support.fleet_of_stores import a_sentinel
from tests.support.stores import a_client


def test_a_server_is_where_it_is_said_to_be() -> None:
    assert asyncio.run(locate(Settings(path="/run/s"))) is None
    assert asyncio.run(locate(Settings(addresses=(("redis", 6379),)))) == ("redis", 6379)


def test_no_sentinel_answers() -> None:
    with pytest.raises(StateError, match="no sentinel knows the master of 'state'"):
        asyncio.run(locate(Settings("sentinel", addresses=(("127.0.0.1", 1),), service="state")))


def test_tls_in_the_words_of_the_library() -> None:
    assert tls_options(Settings()) == {}
    assert tls_options(Settings(tls=Tls(ca="/ca.pem"))) == {"ssl": True, "ssl_ca_certs": "/ca.pem"}


def test_the_master_is_followed() -> None:
    async def run() -> None:
        with a_sentinel() as (sentinel, master, replica):
            settings = Settings("sentinel", addresses=(("127.0.0.1", sentinel.port),), service="state", timeout=0.2)
            with pytest.raises(StateError, match="'other'"):
                await locate(Settings("sentinel", addresses=settings.addresses, service="other"))
            async with a_client(settings) as state:
                assert await state.do("SET", "k", "v") == b"OK"
                assert master.ask("GET", "k").endswith(b"v\r\n")
                await eventually(lambda: replica.ask("GET", "k").endswith(b"v\r\n"))
                master.kill()
                await eventually(lambda: not state.up)
                await eventually(lambda: state.up, 30)
                assert await state.do("SET", "k", "w") == b"OK"
                assert replica.ask("GET", "k").endswith(b"w\r\n")

    asyncio.run(run())
