"""Repeats among places."""

from __future__ import annotations

from config.findings import repeated


def test_each_repeat_names_the_first() -> None:
    places = [(("a", 0), "X", "x"), (("a", 1), "y", "y"), (("a", 2), "x", "x"), (("a", 3), "x", "x")]
    assert list(repeated(places)) == [(("a", 2), "a[0]", "x"), (("a", 3), "a[0]", "x")]
    assert list(repeated([])) == []
