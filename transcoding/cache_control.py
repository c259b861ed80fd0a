"""What a client says about cached answers: the request directives of `Cache-Control` (RFC 9111 §5.2.1)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

LONGEST = 1024  # bytes that are looked at; the rest is more than all directives there are


class Directives(NamedTuple):
    """`no_store`: leave no trace of this. `no_cache`: get a new answer. `max_age`: of at most so many seconds, None if
    any. `only_if_cached`: an answer that is there, or none."""

    no_store: bool = False
    no_cache: bool = False
    max_age: float | None = None
    only_if_cached: bool = False


NONE = Directives()


@lru_cache(maxsize=256)
def parse(value: bytes) -> Directives:
    """The directives of a field's value. Those that are not known, or not understood, are left out, as the RFC asks;
    an age that is no number is 0, the careful reading of §4.2.1."""
    names: dict[str, str] = {}
    for item in value[:LONGEST].decode("latin-1").lower().split(","):
        name, _, argument = item.partition("=")
        names.setdefault(name.strip(), argument.strip().strip('"'))
    age = names.get("max-age")
    seconds = None if age is None else float(age[:10]) if age.isascii() and age.isdigit() else 0.0
    return Directives("no-store" in names, "no-cache" in names or seconds == 0.0, seconds, "only-if-cached" in names)
