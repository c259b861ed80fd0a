"""The store as `state.State` has it, with nothing between: one command at a time through redis-py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from state import Argument, Script, StateError


class PlainState:
    """At a Unix socket. `asked` counts what travelled."""

    def __init__(self, socket: str, prefix: str = "t", timeout: float = 2.0) -> None:
        self.link = redis.asyncio.Redis(
            unix_socket_path=socket, socket_timeout=timeout, socket_connect_timeout=timeout, retry=None
        )
        self.up = True
        self.asked = 0
        self._prefix = prefix

    def key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    async def do(self, *command: Argument, timeout: float | None = None) -> Any:
        self.asked += 1
        try:
            answer = await self.link.execute_command(*command)
        except (RedisError, OSError) as error:
            self.up = False
            raise StateError(str(error)) from error
        self.up = True
        return answer

    def script(self, name: str, source: str) -> Script:
        def run(keys: Sequence[str], args: Sequence[Argument] = ()) -> Awaitable[Any]:
            return self.do("EVAL", source, len(keys), *keys, *args)

        return run

    def on_message(self, channel: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        raise NotImplementedError(channel)

    async def __aenter__(self) -> PlainState:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.aclose()
