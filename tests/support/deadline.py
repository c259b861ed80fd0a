"""Waiting for a fact instead of for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(probe: Callable[[], T], seconds: float = 20.0) -> T:
    """The first true value of `probe`. An `OSError` or `AssertionError` counts as not yet; the last one is raised."""
    end = time.monotonic() + seconds
    while True:
        try:
            if value := probe():
                return value
        except (OSError, AssertionError):
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {probe}")
        time.sleep(0.02)


async def eventually(probe: Callable[[], T], seconds: float = 10.0) -> T:
    """The first true value of `probe`, asked between turns of the event loop."""
    async with asyncio.timeout(seconds):
        while not (value := probe()):
            await asyncio.sleep(0.005)
    return value
