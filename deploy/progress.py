"""Progress of long steps: lines with the seconds since the first step began."""

from __future__ import annotations

import time
from collections.abc import Callable

Say = Callable[[str], None]


class Progress:
    """Calls `say` with each line and the seconds that have passed."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        self._say(f"[{time.monotonic() - self._began:5.1f} s] {line}")
