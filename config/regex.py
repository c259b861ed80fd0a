"""Regular expressions of a configuration, matched by RE2: in time linear in the text, whatever the expression.

RE2's syntax (https://github.com/google/re2/wiki/Syntax, also Envoy's) has neither backreferences nor lookarounds, which
are what makes other engines backtrack; an expression is also held to a small program, so that many of them fit.
"""

from __future__ import annotations

import re
from typing import Protocol, cast

import re2

from config.problems import quote

_LONGEST = 1000  # characters
_MEMORY = 1024 * 1024  # bytes that RE2 may use for an expression and its automata


class Regex(Protocol):
    """A compiled expression."""

    def fullmatch(self, text: str | bytes) -> object | None:
        """Something, where the expression matches all of `text`."""
        ...


def compile_regex(text: str) -> Regex:
    """The expression in `text`. Raises ValueError, whose message says what was expected."""
    if len(text) > _LONGEST:
        raise ValueError(f"expected at most {_LONGEST} characters, got {len(text)}")
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        return cast(Regex, re2.compile(text, options))
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if error.args else "no reason given"
        hint = "; lookarounds and backreferences are not part of RE2" if _is_perl(text) else ""
        raise ValueError(f"expected a regular expression of RE2, got {quote(text)}: {why}{hint}") from error


def _is_perl(text: str) -> bool:
    return re.search(r"\(\?<?[=!]|\\[1-9]", text) is not None
