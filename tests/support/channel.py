"""A channel to an address, and calls to send on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from routing.call import Call
from routing.connectors.grpc_h2 import Channel
from transcoding.grpc_framing import encode_message
from transcoding.methods import BY_NAME


def a_call(payload: bytes = b"hello", **more) -> Call:  # type: ignore[no-untyped-def]
    """A ModelInfer call with this message."""
    return Call(BY_NAME["ModelInfer"], "m", "", (encode_message((payload,)),), **more)


def run(address: str, use: Callable[[Channel], Awaitable[object]], **options: object) -> object:
    """`use` with a channel to `address`, on a loop of its own."""

    async def main() -> object:
        channel = Channel(address, **options)  # type: ignore[arg-type]
        channel.start()
        try:
            async with asyncio.timeout(30):
                return await use(channel)
        finally:
            await channel.aclose()

    return asyncio.run(main())
