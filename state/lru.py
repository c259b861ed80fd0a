"""What was used last, up to so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Values by key, each with a size in bytes; what was not used for longest goes first. `evicted` counts what went
    for want of room."""

    __slots__ = ("_limit", "_values", "bytes", "evicted")

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self.evicted = 0
        self._limit = limit
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value, which was used by that; None if there is none."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of `size` bytes, which replaces an older one; not at all if it alone is too large."""
        self.discard(key)
        if size > self._limit:
            return
        self._values[key] = value, size
        self.bytes += size
        while self.bytes > self._limit:
            self.bytes -= self._values.popitem(last=False)[1][1]
            self.evicted += 1

    def discard(self, key: K) -> None:
        """Let go of a value, if it is there."""
        found = self._values.pop(key, None)
        if found is not None:
            self.bytes -= found[1]

    def discard_if(self, unwanted: Callable[[V], bool]) -> int:
        """Let go of all these values; how many they were. It looks at each one."""
        keys = [key for key, (value, _) in self._values.items() if unwanted(value)]
        for key in keys:
            self.discard(key)
        return len(keys)
