"""Tasks that are kept and whose errors show."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from routing.tasks import spawn


def test_returns_the_result() -> None:
    async def run() -> int:
        return await spawn(asyncio.sleep(0, 7), "seven")

    assert asyncio.run(run()) == 7


def test_an_error_is_logged_with_the_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("reason")

    async def run() -> None:
        task = spawn(fail(), "the job")
        await asyncio.wait([task])

    asyncio.run(run())
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "task the job failed: ValueError('reason')")


def test_cancellation_is_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        task = spawn(asyncio.sleep(60), "sleeper")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(run())
    assert caplog.records == []


def test_a_task_that_nobody_holds_runs_to_its_end() -> None:
    ended: list[bool] = []

    async def job() -> None:
        hidden = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, lambda future=hidden: future.set_result(None))
        await hidden
        ended.append(True)

    async def run() -> None:
        spawn(job(), "orphan")
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0.1)

    asyncio.run(run())
    assert ended == [True]
