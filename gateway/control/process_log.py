"""The output of a process in a file that stays small: the process appends, and when the file is full it is copied to
one kept beside it and emptied. The process needs no restart for that, nor control to be alive."""

from __future__ import annotations

import os
import shutil

LIMIT = 8 * 1024 * 1024
"""Bytes of the file at which it is emptied; one as large is kept, so twice as much is the most on disk, and what a
process writes between two looks."""
TAIL_BYTES = 64 * 1024


class ProcessLog:
    """The file at `path`, and `path.1` with what was before."""

    def __init__(self, path: str, limit: int = LIMIT) -> None:
        self.path = path
        self._limit = limit

    def open(self) -> int:
        """A descriptor that appends, to be closed by the caller. Raises `OSError`."""
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def trim(self) -> bool:
        """Empty the file if it is full. True if it was. What is written during the copy may be lost. Raises `OSError`,
        such as for a full disk."""
        try:
            if os.stat(self.path).st_size < self._limit:
                return False
        except FileNotFoundError:
            return False
        with open(self.path, "rb") as file, open(f"{self.path}.new", "wb") as kept:
            file.seek(max(0, file.seek(0, os.SEEK_END) - self._limit))
            shutil.copyfileobj(file, kept)
        os.replace(f"{self.path}.new", f"{self.path}.1")
        os.truncate(self.path, 0)
        return True

    def tail(self, lines: int = 2000) -> list[str]:
        """The last lines that say something."""
        try:
            with open(self.path, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return [line for line in text.splitlines() if line.strip()][-lines:]
