"""Keys are read when they are needed, once for all, and kept when they cannot be read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from routing.fetch import FetchFailed
from routing.jwks import SigningKey
from routing.key_source import ABSENT_SECONDS, LEAST_SECONDS, MOST_ABSENT, RETRY_SECONDS, KeySource, NoKeys
from routing.tasks import spawn
from tests.support.clock import Clock
from tests.support.issuer import jwks, public_jwk

REFRESH, STALE = 600.0, 3600.0
OLD, NEW = public_jwk("ES256", "old"), public_jwk("ES256", "new")


class Source:
    """A source of keys before a document that changes, and may be away."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.clock, self.reads, self.changes = Clock(), 0, 0
        self.document: bytes | Exception = jwks(*keys)
        self.results: list[str] = []
        self.gate: asyncio.Event | None = None
        self.keys = KeySource(
            "issuer",
            self._fetch,
            ("ES256", "RS256"),
            refresh=REFRESH,
            stale=STALE,
            clock=self.clock,
            spawn=spawn,
            told=self.results.append,
            changed=self._changed,
        )

    async def _fetch(self) -> bytes:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.document, Exception):
            raise self.document
        return self.document

    def _changed(self) -> None:
        self.changes += 1

    async def find(self, kid: str) -> SigningKey | None:
        return await self.keys.find(kid, "ES256")

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_keys_are_read_once_and_then_known() -> None:
    async def story() -> None:
        source = Source(OLD)
        assert source.reads == 0
        for _ in range(3):
            found = await source.find("old")
            assert found is not None
        assert (source.reads, source.changes, source.results) == (1, 1, ["ok"])

    run(story)


def test_all_who_wait_share_one_reading() -> None:
    async def story() -> None:
        source = Source(OLD)
        source.gate = asyncio.Event()
        waiting = [asyncio.ensure_future(source.find("old")) for _ in range(50)]
        await source.settle()
        waiting[0].cancel()
        await source.settle()
        source.gate.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert source.reads == 1
        assert isinstance(found[0], asyncio.CancelledError)
        assert all(isinstance(each, SigningKey) for each in found[1:])

    run(story)


def test_a_new_key_is_found_by_the_first_token_that_names_it() -> None:
    async def story() -> None:
        source = Source(OLD)
        await source.find("old")
        source.document = jwks(OLD, NEW)
        source.clock.now += LEAST_SECONDS
        found = await source.find("new")
        assert found is not None
        assert (source.reads, source.changes) == (2, 2)

    run(story)


def test_i3_a_storm_of_unknown_names_costs_one_reading_in_ten_seconds() -> None:
    async def story() -> None:
        source = Source(OLD)
        await source.find("old")
        for second in range(100):
            for number in range(100):
                assert await source.find(f"{second}-{number}") is None
            source.clock.now += 1.0
        assert source.reads <= 1 + 100 / LEAST_SECONDS
        assert source.changes == 1
        assert await source.find("old") is not None

    run(story)


def test_i3_so_does_a_storm_at_once() -> None:
    async def story() -> None:
        source = Source(OLD)
        await source.find("old")
        source.clock.now += LEAST_SECONDS
        source.gate = asyncio.Event()
        storm = [asyncio.ensure_future(source.find(f"x{number}")) for number in range(1000)]
        await source.settle()
        source.gate.set()
        assert await asyncio.gather(*storm) == [None] * 1000
        assert source.reads == 2

    run(story)


def test_a_name_looked_for_in_vain_is_not_looked_for_again_soon() -> None:
    async def story() -> None:
        source = Source(OLD)
        await source.find("old")
        source.clock.now += LEAST_SECONDS
        assert await source.find("ghost") is None
        assert source.reads == 2
        source.clock.now += ABSENT_SECONDS - 1
        assert await source.find("ghost") is None
        assert source.reads == 2
        source.clock.now += 2
        assert await source.find("ghost") is None
        assert source.reads == 3

    run(story)


def test_names_that_are_absent_are_bounded() -> None:
    async def story() -> None:
        source = Source(OLD)
        await source.find("old")
        for number in range(MOST_ABSENT + 10):
            source.clock.now += LEAST_SECONDS
            await source.find(f"x{number}")
        assert len(source.keys._absent) <= MOST_ABSENT

    run(story)


def test_old_keys_are_read_again_in_the_background() -> None:
    async def story() -> None:
        source = Source(OLD)
        await source.find("old")
        source.clock.now += REFRESH + 1
        source.gate = asyncio.Event()
        assert await source.find("old") is not None  # nobody waits
        await source.settle()
        assert source.reads == 2
        source.document = jwks(NEW)
        source.gate.set()
        await source.settle()
        source.gate = None
        source.clock.now += LEAST_SECONDS
        assert await source.find("old") is None  # withdrawn
        assert source.changes == 2

    run(story)


@pytest.mark.parametrize("failure", [FetchFailed("away"), b"garbage", b'{"keys": []}'], ids=repr)
def test_i4_known_keys_go_on_when_they_cannot_be_read_and_then_no_longer(
    failure: bytes | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        source = Source(OLD)
        await source.find("old")
        source.document = failure
        for _ in range(int(STALE // 300)):
            source.clock.now += 300
            assert await source.find("old") is not None
            await source.settle()
        assert "failed" in source.results
        source.clock.now += REFRESH + 300
        with pytest.raises(NoKeys):
            await source.find("old")
        source.document = jwks(OLD)
        source.clock.now += RETRY_SECONDS
        assert await source.find("old") is not None

    with caplog.at_level(logging.WARNING):
        run(story)
    assert "the keys of issuer could not be read" in caplog.text


def test_without_keys_the_source_is_asked_once_a_second() -> None:
    async def story() -> None:
        source = Source()
        source.document = FetchFailed("away")
        for _ in range(100):
            with pytest.raises(NoKeys):
                await source.find("old")
            source.clock.now += 0.1
        assert 9 <= source.reads <= 11

    run(story)
