"""Model patterns: names and globs, compiled so that no pattern and no name costs more than linear time.

`*` is any text, `?` one character, `[a-z]` one of a class, `[!a-z]` one outside it; `[*]` is a star. Case counts, and a
pattern covers the whole name. Each run of text between two stars is found once and never given back (an atomic group),
which loses no match since the leftmost find leaves most to the rest; so `*a*a*a*b` does not backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_STAR, _ONE = "*", "."  # tokens; every other token is the regex of one character or class, escaped


class GlobError(ValueError):
    """A pattern that cannot be read. The message says what was expected."""


class Patterns(NamedTuple):
    """A route's patterns: `names` to look up, `globs` (one regex, to be used with `match`) for the rest."""

    names: frozenset[str]
    globs: re.Pattern[str] | None

    def matches(self, model: str) -> bool:
        return model in self.names or (self.globs is not None and self.globs.match(model) is not None)


def compile_patterns(patterns: Iterable[str]) -> Patterns:
    """Exact names apart from globs. Raises GlobError."""
    every = tuple(patterns)
    globs = [regex(tokens(pattern)) for pattern in every if not is_exact(pattern)]
    joined = re.compile(rf"(?s:{'|'.join(globs)})\Z") if globs else None
    return Patterns(frozenset(filter(is_exact, every)), joined)


def is_exact(pattern: str) -> bool:
    """Whether the pattern is a plain name."""
    return not any(c in pattern for c in "*?[")


def is_literal(token: str) -> bool:
    """Whether a token stands for one certain character."""
    return token not in (_STAR, _ONE) and not token.startswith("[")


def tokens(pattern: str) -> tuple[str, ...]:
    """The pattern as one token per character, class or star, in a normal form: runs of stars are one star, and a star
    comes after the `?` beside it. Raises GlobError."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        token, at = _token(pattern, at)
        starred = bool(found) and found[-1] == _STAR
        if starred and token == _ONE:
            found.insert(-1, token)
        elif not (starred and token == _STAR):
            found.append(token)
    return tuple(found)


def regex(glob: tuple[str, ...]) -> str:
    """Tokens as a regex without its end anchor."""
    runs = [""]
    for token in glob:
        if token == _STAR:
            runs.append("")
        else:
            runs[-1] += token
    if len(runs) == 1:
        return runs[0]
    first, *middle, last = runs
    return first + "".join(f"(?>.*?{run})" for run in middle) + f".*{last}"


def covers(general: tuple[str, ...], special: tuple[str, ...]) -> bool:
    """Whether each name that `special` matches is matched by `general` too. True is certain; False may miss a cover
    by a class (`[ab]` over `[a]`), which no check relies on."""
    g = s = 0
    star, resume = -1, 0
    while s < len(special):
        if g < len(general) and general[g] == _STAR:
            star, resume, g = g, s, g + 1
        elif g < len(general) and _covers_one(general[g], special[s]):
            g, s = g + 1, s + 1
        elif star >= 0:
            resume += 1
            g, s = star + 1, resume
        else:
            return False
    return all(token == _STAR for token in general[g:])


def _covers_one(general: str, special: str) -> bool:
    if special == _STAR or general in (special, _ONE):
        return special != _STAR
    return (
        general.startswith("[")
        and is_literal(special)
        and re.fullmatch(general, special.removeprefix("\\")) is not None
    )


def _token(pattern: str, at: int) -> tuple[str, int]:
    """The token that starts at `at`, and where the next one starts."""
    match pattern[at]:
        case "*":
            return _STAR, at + 1
        case "?":
            return _ONE, at + 1
        case "[":
            return _class(pattern, at)
        case character:
            return re.escape(character), at + 1


def _class(pattern: str, at: int) -> tuple[str, int]:
    start = at + 1 + pattern.startswith("!", at + 1)
    end = pattern.find("]", start + 1)  # a `]` that comes first is a member
    if end < 0:
        raise GlobError(f"expected a ']' that closes the '[' at character {at + 1}; a literal '[' is written [[]")
    if pattern.startswith("^", start):
        raise GlobError(f"expected [!…] for a class of other characters, got '[^' at character {at + 1}")
    negated = "^" if start == at + 2 else ""
    return f"[{negated}{_members(pattern[start:end])}]", end + 1


def _members(body: str) -> str:
    members, at = "", 0
    while at < len(body):
        first, last = body[at], body[at + 2] if body[at + 1 : at + 2] == "-" and at + 2 < len(body) else ""
        if last and last < first:
            raise GlobError(f"expected a range from low to high, got '{first}-{last}'")
        members += re.escape(first) + (f"-{re.escape(last)}" if last else "")
        at += 3 if last else 1
    return members
