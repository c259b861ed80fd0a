"""Work that is too long for the event loop: inflating, during which zlib leaves the interpreter to others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from transcoding.message import Buffer

T = TypeVar("T")

INLINE_BYTES = 4096
"""Compressed bytes up to this size are inflated at once: at a ratio of 1000, the most that deflate has, that takes some
milliseconds."""
THREADS = 2
"""So many bodies at once may be on their way to their limit."""

_pool = ThreadPoolExecutor(THREADS, "inflate")


async def inflate_aside(inflate: Callable[[Buffer, str, int], T], data: Buffer, encoding: str, limit: int) -> T:
    """`inflate(data, encoding, limit)`, in a thread when `data` is large. Raises what it raises."""
    if len(data) <= INLINE_BYTES:
        return inflate(data, encoding, limit)
    return await asyncio.get_running_loop().run_in_executor(_pool, inflate, data, encoding, limit)
