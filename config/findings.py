"""What the checks across parts find: a place, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from config.problems import Path, path_text

Finding = tuple[Path, str]


def repeated(places: Iterable[tuple[Path, str, Hashable]]) -> Iterator[tuple[Path, str, str]]:
    """Of (path, value as written, what makes it equal): each repeat with its path, and where its equal stands first."""
    first: dict[Hashable, Path] = {}
    for path, text, key in places:
        if key in first:
            yield path, path_text(first[key]), text
        else:
            first[key] = path
