"""Messages that are published in the store, on a connection of their own that comes back by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from state import StateError
from state.backoff import Backoff
from state.connection import Connection
from state.resp import encode

PING = 1.0
"""Seconds from one sign of life that is asked for to the next."""
SILENCE = 3.0
"""Seconds without one after which the connection is given up."""

Told = Callable[[bytes], None]

_log = logging.getLogger(__name__)


class Subscriber:
    """Channels by their full names, on the connections that `reach` makes."""

    def __init__(self, reach: Callable[[], Awaitable[Connection]]) -> None:
        self._reach = reach
        self._channels: dict[bytes, list[Told]] = {}
        self._wanted = asyncio.Event()
        self._connection: Connection | None = None
        self._ended = asyncio.Event()
        self._heard = 0.0
        self._backoff = Backoff(0.05, 1.0)

    def on(self, channel: str, told: Told) -> Callable[[], None]:
        """Have `told` called with each message, and with b"" whenever a subscription begins; the answer ends that.
        `told` must not raise."""
        name = channel.encode()
        self._channels.setdefault(name, []).append(told)
        self._wanted.set()
        if self._connection is not None:
            self._connection.write(encode([("SUBSCRIBE", name)]))

        def off() -> None:
            listeners = self._channels.get(name, [])
            if told in listeners:
                listeners.remove(told)
            if not listeners and self._channels.pop(name, None) is not None and self._connection is not None:
                self._connection.write(encode([("UNSUBSCRIBE", name)]))
            if not self._channels:
                self._wanted.clear()

        return off

    async def run(self) -> None:
        """Listen until cancelled; there is no connection before the first channel."""
        while True:
            await self._wanted.wait()
            try:
                await self._listen(await self._reach())
            except StateError as error:
                _log.debug("no messages from the state store: %s", error)
            await asyncio.sleep(self._backoff.next())

    async def _listen(self, connection: Connection) -> None:
        self._ended.clear()
        self._heard = asyncio.get_running_loop().time()
        connection.told, connection.lost = self._told, lambda error: self._ended.set()
        try:
            if connection.open and self._channels:
                self._connection = connection
                connection.write(encode([("SUBSCRIBE", *self._channels)]))
                await self._stay(connection)
        finally:
            self._connection = None
            connection.close(StateError("the gateway closed the connection to the store", "lost"))

    async def _stay(self, connection: Connection) -> None:
        """Until it ends or falls silent."""
        loop = asyncio.get_running_loop()
        while not self._ended.is_set() and loop.time() - self._heard < SILENCE:
            try:
                async with asyncio.timeout(PING):
                    await self._ended.wait()
            except TimeoutError:
                connection.write(encode([("PING",)]))

    def _told(self, answers: list[Any]) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._backoff.reset()
        for answer in answers:
            if isinstance(answer, list) and len(answer) == 3 and answer[0] in (b"message", b"subscribe"):
                message = answer[2] if answer[0] == b"message" else b""
                for told in tuple(self._channels.get(answer[1], ())):
                    told(message)
