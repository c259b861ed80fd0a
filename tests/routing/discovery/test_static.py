"""Endpoints that the configuration lists, and which source a pool has."""

from __future__ import annotations

import asyncio

import pytest

from config.pools import Discover, Endpoint, Pool
from routing.discovery import source_of
from routing.discovery.dns import Dns
from routing.discovery.static import Static

TWO = (Endpoint("b:1", weight=2.0), Endpoint("a:1"))


def test_they_are_as_the_file_says_and_the_first_answer_is_there_at_once() -> None:
    async def main() -> None:
        source, calls = Static(TWO), list[int]()
        running = asyncio.get_running_loop().create_task(source.run(lambda: calls.append(1)))
        await asyncio.sleep(0.01)
        assert (source.current(), source.failure, calls, running.done()) == (TWO, "", [1], False)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


def test_a_pool_has_the_source_that_it_says() -> None:
    assert source_of(Pool(TWO)).current() == TWO
    assert isinstance(source_of(Pool(discover=Discover(dns="triton.test:8001"))), Dns)
