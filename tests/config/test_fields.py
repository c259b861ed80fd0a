"""Bounds and descriptions of fields, as msgspec sees them."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from config.fields import count, duration, flag, if_given, items, number, one_or_several, several, size, text


class Sample(msgspec.Struct):
    wait: Annotated[float, duration("a wait", 0.5, 2)] = 1.0
    room: Annotated[int, size("a room", 10, 20)] = 10
    many: Annotated[int, count("a number", 1, 3)] = 1
    name: Annotated[str, text("a name")] = "a"
    items: Annotated[tuple[int, ...], several("some")] = (1,)
    bare: Annotated[tuple[int, ...], one_or_several("one or some")] = (1,)
    share: Annotated[float, number("a share", 0, 1)] = 0.5
    on: Annotated[bool, flag("a flag")] = False
    perhaps: Annotated[tuple[int, ...], if_given("perhaps some", bare_item=True)] = ()
    any: Annotated[tuple[int, ...], items("any")] = ()


def test_defaults_are_within_the_bounds() -> None:
    assert msgspec.convert({}, Sample) == Sample()
    assert msgspec.convert(msgspec.to_builtins(Sample()), Sample) == Sample()


@pytest.mark.parametrize(
    "values",
    [
        {"wait": 0.4},
        {"wait": 2.1},
        {"room": 9},
        {"room": 21},
        {"many": 0},
        {"many": 4},
        {"items": []},
        {"bare": []},
        {"share": 1.1},
        {"on": 1},
    ],
)
def test_bounds_hold_when_a_value_comes_over_a_wire(values: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, Sample)


def test_each_description_is_kept_for_editors() -> None:
    properties = msgspec.json.schema(Sample)["$defs"]["Sample"]["properties"]
    descriptions = [value["description"] for value in properties.values()]
    assert descriptions[:6] == ["a wait", "a room", "a number", "a name", "some", "one or some"]
    assert descriptions[6:] == ["a share", "a flag", "perhaps some", "any"]
