"""Inflating: in a thread when it is too long for the event loop, since zlib leaves the interpreter to others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from transcoding.grpc_framing import inflate
from transcoding.message import Buffer
from transcoding.status import Code, GatewayError

if TYPE_CHECKING:
    from gateway.ingress.grpc_head import Head

T = TypeVar("T")

INLINE_BYTES = 4096
"""Compressed bytes up to this size are inflated at once: at a ratio of 1000, the most that deflate has, that takes some
milliseconds."""
THREADS = 2
"""So many bodies at once may be on their way to their limit."""

_pool = ThreadPoolExecutor(THREADS, "inflate")


async def inflate_aside(function: Callable[[Buffer, str, int], T], data: Buffer, encoding: str, limit: int) -> T:
    """`function(data, encoding, limit)`, in a thread when `data` is large. Raises what it raises."""
    if len(data) <= INLINE_BYTES:
        return function(data, encoding, limit)
    return await asyncio.get_running_loop().run_in_executor(_pool, function, data, encoding, limit)


async def inflate_message(message: Buffer, head: Head, limit: int) -> Buffer:
    """A compressed gRPC message in plain, at most `limit` bytes. Raises `GatewayError`."""
    return await inflate_aside(inflate, message, _encoding(head), limit)


def inflate_small(message: Buffer, head: Head | None) -> Buffer:
    """A compressed gRPC message in plain, at once. Raises `GatewayError`, for a large one too."""
    assert head is not None
    return inflate(message, _encoding(head), INLINE_BYTES)


def _encoding(head: Head) -> str:
    if head.encoding == "identity":
        raise GatewayError(Code.INTERNAL, "a compressed message in a call without grpc-encoding", http_status=400)
    return head.encoding
