"""Routes that can never be used, since earlier ones take all their models."""

from __future__ import annotations

from collections.abc import Iterator

from config.findings import Finding
from config.hole import HOLE
from config.match import covers, is_literal, tokens
from config.problems import path_text, quote
from config.schema import Config

_MAX_COMPARISONS = 300_000  # a second or two; beyond some 700 globs that begin alike, the rest are taken on trust


def check_patterns(config: Config) -> Iterator[Finding]:
    """Each pattern of which an earlier route leaves nothing."""
    taken = _Taken()
    for i, route in enumerate(config.routes):
        for j, pattern in enumerate(route.match.model):
            if pattern is HOLE:
                continue
            glob = tokens(pattern)
            if (earlier := taken.by(glob)) is not None:
                taker, by = earlier
                what = "expected a model that no earlier route takes"
                yield ("routes", i, "match", "model", j), f"{what}, got {quote(pattern)}, which {taker} takes by {by}"
            else:
                taken.add(glob, path_text(("routes", i)), quote(pattern))


class _Taken:
    """The patterns of earlier routes, by the plain text that they begin with, so that few are looked at for each."""

    def __init__(self) -> None:
        self._patterns: dict[tuple[str, ...], list[tuple[tuple[str, ...], str, str]]] = {}
        self._comparisons = 0

    def add(self, glob: tuple[str, ...], route: str, pattern: str) -> None:
        self._patterns.setdefault(_beginning(glob), []).append((glob, route, pattern))

    def by(self, glob: tuple[str, ...]) -> tuple[str, str] | None:
        """Route and pattern that take whatever `glob` matches, if any do."""
        beginning = _beginning(glob)
        for length in range(len(beginning) + 1):
            for general, route, pattern in self._patterns.get(beginning[:length], ()):
                self._comparisons += 1
                if self._comparisons > _MAX_COMPARISONS:
                    return None
                if covers(general, glob):
                    return route, pattern
        return None


def _beginning(glob: tuple[str, ...]) -> tuple[str, ...]:
    end = next((i for i, token in enumerate(glob) if not is_literal(token)), len(glob))
    return glob[:end]
