"""What is wrong with a configuration, and where: one line per mistake, all mistakes at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec

Path = tuple[str | int, ...]
"""Keys and list indices from the top of the file to a value: `("routes", 0, "to", "pool")`."""

_SHOWN = 60  # characters of a value in a message
_LISTED = 12  # names in a message
_LONGEST_GUESS = 64  # difflib's time grows with the square of the length,
_MOST_GUESSES = 1000  # and with the number of words


class Problem(msgspec.Struct, frozen=True):
    """One mistake. `line` and `column` count from 1; `path` is empty where the file as a whole is meant."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.message}" if self.path else where + self.message


class ConfigError(Exception):
    """A configuration that cannot be used. `problems` has every mistake (up to `config.decode.MAX_PROBLEMS`), in the
    order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.column)))
        super().__init__("\n".join(map(str, self.problems)))


def path_text(path: Path) -> str:
    """`routes[0].to.pool`; a key that would be misread is quoted: `pools['a.b'].pick`."""
    parts = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif re.fullmatch("[A-Za-z0-9_-]+", part):
            parts.append(f".{part}")
        else:
            parts.append(f"[{quote(part)}]")
    return "".join(parts).removeprefix(".")


def quote(text: str) -> str:
    """`text` in quotes on one line, cut when long."""
    return repr(text) if len(text) <= _SHOWN else repr(text[:_SHOWN]) + "…"


def listed(names: Iterable[str]) -> str:
    """Names for a message, the first few of many."""
    every = list(names)
    more = [f"and {len(every) - _LISTED} more"] if len(every) > _LISTED else []
    return ", ".join([*every[:_LISTED], *more])


def joined(names: Sequence[str]) -> str:
    """`a, b and c`; `none` for no names."""
    *most, last = [*names] or ["none"]
    return f"{', '.join(most)} and {last}" if most else last


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'pools'?`, or nothing where no known word is near."""
    if len(word) > _LONGEST_GUESS:
        return ""
    near = difflib.get_close_matches(word, islice(known, _MOST_GUESSES), n=1)
    return f"; did you mean {quote(near[0])}?" if near else ""
