"""A bounded memory of what bytes decoded to, with constant-time aging."""

from __future__ import annotations

from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recall(Generic[Value]):
    """Bytes to values in two generations of at most `entries` entries and `size` key bytes each.

    What is used moves to the young generation; when that is full it becomes the old one, and the old one is forgotten.
    So a flood of unique keys cannot push out what is in use, and no operation scans. `young` may be read directly.
    """

    __slots__ = ("_entries", "_old", "_room", "_size", "young")

    def __init__(self, entries: int, size: int) -> None:
        self.young: dict[bytes, Value] = {}
        self._old: dict[bytes, Value] = {}
        self._entries = entries
        self._size = size
        self._room = size

    def get(self, key: bytes) -> Value | None:
        """The value, and keep it for another generation."""
        value = self.young.get(key)
        return value if value is not None else self.promote(key)

    def promote(self, key: bytes) -> Value | None:
        """The value if only the old generation has it, which is then young again."""
        value = self._old.get(key)
        if value is not None:
            self.put(key, value, len(key))
        return value

    def put(self, key: bytes, value: Value, size: int) -> None:
        """Remember; `size` is what it counts for, in bytes. What is larger than a generation is not kept."""
        if size > self._size:
            return
        if len(self.young) >= self._entries or size > self._room:
            self._old, self.young, self._room = self.young, {}, self._size
        self.young[key] = value
        self._room -= size

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def __repr__(self) -> str:
        return f"Recall({len(self.young)} young, {len(self._old)} old)"
