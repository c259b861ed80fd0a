"""What stands for a value that could not be read, so that one walk finds every mistake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class _Hole:
    """The place of a value that could not be read. It answers every question with another hole, with nothing, or with
    no."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: object) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __bool__(self) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return False

    __lt__ = __gt__


HOLE: Any = _Hole()
