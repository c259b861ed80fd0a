"""Lua scripts that the store keeps by their SHA-1; the source travels when it has not, or no longer, got one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from typing import Any

from state import Argument
from state.resp import Refusal


class StoredScript:
    """A `state.Script` over `do`."""

    def __init__(self, do: Callable[..., Awaitable[Any]], source: str) -> None:
        self._do = do
        self._source = source
        self._sha = sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str], args: Sequence[Argument] = ()) -> Any:
        """What the script returns. Raises `StateError`."""
        try:
            return await self._do("EVALSHA", self._sha, len(keys), *keys, *args)
        except Refusal as error:
            if error.code != "NOSCRIPT":
                raise
        return await self._do("EVAL", self._source, len(keys), *keys, *args)
