"""What stands for a value that could not be read."""

from __future__ import annotations

from config.hole import HOLE


def test_a_hole_answers_with_holes_nothing_or_no() -> None:
    assert HOLE.any.thing is HOLE
    assert HOLE.items() is HOLE
    assert list(HOLE) == []
    assert not HOLE
    assert not HOLE < 1
    assert not HOLE > 1
