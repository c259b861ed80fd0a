"""A worker wakes another one at once, and what cannot be heard does no harm."""

from __future__ import annotations

import asyncio
from pathlib import Path

from routing.bell import Bell


def test_who_is_rung_hears_it(tmp_path: Path) -> None:
    async def run() -> None:
        heard = asyncio.Event()
        one, two = Bell(str(tmp_path), 0), Bell(str(tmp_path), 1)
        try:
            two.ring(0)  # nobody listens yet
            stop = one.on_ring(heard.set)
            for _ in range(3):
                two.ring(0)
                async with asyncio.timeout(5):
                    await heard.wait()
                heard.clear()
            stop()
            two.ring(0)
            await asyncio.sleep(0.02)
            assert not heard.is_set()
        finally:
            one.close()
            two.close()

    asyncio.run(run())


def test_ringing_a_worker_that_does_not_answer_never_blocks(tmp_path: Path) -> None:
    async def run() -> None:
        one, two = Bell(str(tmp_path), 0), Bell(str(tmp_path), 1)
        try:
            one.on_ring(lambda: None)
            for _ in range(70_000):
                two.ring(0)
        finally:
            one.close()
            two.close()

    asyncio.run(run())


def test_one_that_is_alone_has_none() -> None:
    bell = Bell(None, 0)
    bell.ring(1)
    bell.on_ring(lambda: None)()
