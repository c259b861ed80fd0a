"""The base of the parts of a configuration."""

from __future__ import annotations

import re

import msgspec
import pytest

from config.node import NAME, Node
from config.pools import Pool
from config.routes import Route


class Part(Node, frozen=True):
    a: int = 1


def test_a_part_has_no_other_fields_and_does_not_change() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `b`"):
        msgspec.convert({"b": 2}, Part)
    with pytest.raises(AttributeError):
        Part().a = 2  # type: ignore[misc]


def test_what_a_part_says_of_itself_is_no_field() -> None:
    assert (Part.shorthand, Part.one_of) == (None, ())
    assert Part.__struct_fields__ == ("a",)


def test_the_fields_to_choose_from_are_fields() -> None:
    for part in (Pool, Route):
        assert set(part.one_of) <= set(part.__struct_fields__)


@pytest.mark.parametrize(
    ("name", "fits"), [("a", True), ("9.a_B-c", True), ("a" * 63, True), ("", False), (".a", False), ("a" * 64, False)]
)
def test_names(name: str, fits: bool) -> None:
    assert (re.search(NAME, name) is not None) is fits
