"""What waits in a batch fails once, each with an error of its own."""

from __future__ import annotations

import asyncio

from state import StateError
from state.batch import Batch


def test_only_those_that_wait_fail() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(4)]
        batch = Batch([("PING",)] * 4, futures, 0.0, 1.0)
        futures[0].set_result(b"PONG")
        batch.at = 1
        futures[1].cancel()
        assert batch.fail(StateError("gone", "lost")) == 2
        first, second = futures[2].exception(), futures[3].exception()
        assert isinstance(first, StateError)
        assert (str(first), first.reason) == ("gone", "lost")
        assert first is not second
        assert batch.fail(StateError("again")) == 0

    asyncio.run(run())
