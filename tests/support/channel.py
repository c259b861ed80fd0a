"""A channel to an address, and calls to send on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from routing.call import Call
from routing.connectors.grpc_h2 import Channel
from routing.pool import Pool
from tests.support.pools import a_pool, an_endpoint
from transcoding.grpc_framing import encode_message
from transcoding.message import Buffer
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError


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


def run_pool(addresses: Sequence[str], use: Callable[[Pool], Awaitable[object]], **options: object) -> object:
    """`use` with a pool of channels to these addresses, on a loop of its own."""

    async def main() -> object:
        pool = a_pool([])
        channels = [Channel(each, on_change=pool.changed, **options) for each in addresses]  # type: ignore[arg-type]
        pool.set_endpoints([an_endpoint(channel.address, channel=channel) for channel in channels])
        for channel in channels:
            channel.start()
        try:
            async with asyncio.timeout(30):
                return await use(pool)
        finally:
            await asyncio.gather(*(channel.aclose() for channel in channels))

    return asyncio.run(main())


class Sink:
    """Collects what a stream brings."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended: asyncio.Future[GatewayError | None] = asyncio.get_running_loop().create_future()

    def message_received(self, message: Buffer) -> None:
        self.messages.append(bytes(message))

    def stream_ended(self, error: GatewayError | None) -> None:
        self.ended.set_result(error)

    def upstream_writable(self) -> None:
        pass


async def echoes(channel: Channel, *payloads: bytes) -> bool:
    """Are calls with all of these, at once, answered by themselves?"""
    replies = await asyncio.gather(*(channel.unary(a_call(payload)) for payload in payloads))
    return [bytes(reply.payload) for reply in replies] == list(payloads)
