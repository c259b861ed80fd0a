"""Single values of every kind, and what is said of wrong ones."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec.inspect as mi
import pytest
import yaml

from config.fields import count, duration, flag, number, size, text
from config.scalars import bare, describe, found, is_null, read_scalar

WHOLE = Annotated[int, count("", 1, 100)]
WAIT = Annotated[float, duration("", 1, 60)]
ROOM = Annotated[int, size("", 1, 1024)]
NAME = Annotated[str, text("")]
VERSION = Annotated[str, text("", "version")]
COLOUR = Literal["green", "red"]
SHARE = Annotated[float, number("", 0, 1)]
FLAG = Annotated[bool, flag("")]
WORD = Annotated[str, text("", "value")]
TLS = Literal["1.2", "1.3"]


def node_of(written: str, loader: type = yaml.SafeLoader) -> yaml.Node:
    node = yaml.compose(written, Loader=loader)
    assert node is not None
    return node


def read(kind: object, written: str) -> object:
    return read_scalar(mi.type_info(kind), node_of(written))


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (WHOLE, "100", 100),
        (WAIT, "1m", 60.0),
        (WAIT, "1.5", 1.5),
        (WAIT, "'2'", 2.0),
        (ROOM, "1KiB", 1024),
        (ROOM, "512", 512),
        (NAME, "vision", "vision"),
        (NAME, "'123'", "123"),
        (NAME, "2024-01-01", "2024-01-01"),
        (VERSION, "2", "2"),
        (VERSION, "'2'", "2"),
        (COLOUR, "red", "red"),
        (SHARE, "20%", 0.2),
        (SHARE, "'0.5'", 0.5),
        (SHARE, "1", 1.0),
        (FLAG, "true", True),
        (FLAG, "false", False),
        (FLAG | None, "null", None),
        (FLAG | None, "true", True),
        (WORD, "010", "010"),
        (WORD, "1e3", "1e3"),
        (WORD, "yes", "yes"),
        (WORD, "' a '", " a "),
        (TLS, "1.3", "1.3"),
        (TLS, "'1.3'", "1.3"),
        (WHOLE | None, "null", None),
        (WHOLE | None, "7", 7),
        (WHOLE | Literal["auto"], "auto", "auto"),
        (WHOLE | Literal["auto"], "7", 7),
    ],
)
def test_values(kind: object, written: str, value: object) -> None:
    assert read(kind, written) == value
    assert type(read(kind, written)) is type(value)


@pytest.mark.parametrize(
    ("kind", "written", "message"),
    [
        (WHOLE, "1e9", "expected a whole number between 1 and 100, got the text '1e9'"),
        (WHOLE, "'7'", "expected a whole number between 1 and 100, got the text '7'"),
        (WHOLE, "7.0", "expected a whole number between 1 and 100, got 7.0"),
        (WHOLE, "010", "expected a whole number between 1 and 100, got 010"),
        (WHOLE, "1_0", "expected a whole number between 1 and 100, got 1_0"),
        (WHOLE, "0x10", "expected a whole number between 1 and 100, got 0x10"),
        (WHOLE, "true", "expected a whole number between 1 and 100, got true"),
        (WHOLE, "null", "expected a whole number between 1 and 100, got nothing"),
        (WHOLE, "[1]", "expected a whole number between 1 and 100, got a list"),
        (WHOLE, "{a: 1}", "expected a whole number between 1 and 100, got a mapping"),
        (WHOLE, "0", "expected a value between 1 and 100, got 0"),
        (WHOLE, "-5", "expected a value between 1 and 100, got -5"),
        (WHOLE, "9" * 5000, f"expected a value between 1 and 100, got {'9' * 40}"),
        (WAIT, "999ms", "expected a value between 1s and 1m, got 999ms"),
        (WAIT, "1e3", "expected a duration such as 250ms, 10s or 1m30s, got '1e3'"),
        (WAIT, "-1", "expected a duration such as 250ms, 10s or 1m30s, got '-1'"),
        (WAIT, "~", "expected a duration such as 250ms, 10s or 1m30s, got nothing"),
        (ROOM, "1MiB", "expected a value between 1 and 1KiB, got 1MiB"),
        (NAME, "123", "expected text, got 123; if it is meant as text, write it in quotes"),
        (NAME, "1:30", "expected text, got 1:30; if it is meant as text, write it in quotes"),
        (NAME, "on", "expected text, got on; if it is meant as text, write it in quotes"),
        (NAME, "''", "expected 1 to 4095 printable characters, got ''"),
        (SHARE, "120%", "expected a value between 0 and 1, got 120%"),
        (SHARE, "-1", "expected a number such as 0.2, 20% or 3, got '-1'"),
        (SHARE, "a", "expected a number such as 0.2, 20% or 3, got 'a'"),
        (SHARE, "true", "expected a number such as 0.2, 20% or 3, got 'true'"),
        (FLAG, "yes", "expected true or false, got yes"),
        (FLAG, "True", "expected true or false, got True"),
        (FLAG, "'true'", "expected true or false, got 'true'"),
        (FLAG, "1", "expected true or false, got 1"),
        (FLAG, "[]", "expected true or false, got a list"),
        (FLAG, "~", "expected true or false, got nothing"),
        (WORD, "~", "expected text, got nothing"),
        (WORD, "[a]", "expected text, got a list"),
        (COLOUR, "gren", "expected one of: green, red; got 'gren'; did you mean 'green'?"),
        (COLOUR, "5", "expected one of: green, red; got 5"),
        (WHOLE | Literal["auto"], "atuo", "expected a whole number between 1 and 100 or auto, got 'atuo'"),
        (WHOLE | None, "x", "expected a whole number between 1 and 100, got the text 'x'"),
    ],
)
def test_mistakes(kind: object, written: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(kind, written)
    assert str(caught.value) == message


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_both_parsers_tell_quoted_from_plain(loader: type) -> None:
    plain, quoted, null = node_of("[5, '5', ~]", loader).value
    assert [found(plain), found(quoted), found(null)] == ["5", "'5'", "nothing"]
    assert [is_null(node) for node in (plain, quoted, null)] == [False, False, True]
    assert read_scalar(mi.type_info(WHOLE), plain) == 5


def test_types_in_words() -> None:
    words = [describe(mi.type_info(kind)) for kind in (WHOLE, NAME, COLOUR, Literal["auto"], WHOLE | None)]
    assert words == ["a whole number between 1 and 100", "text", "one of: green, red", "auto", words[0]]


def test_an_annotation_is_taken_off() -> None:
    kind, extra = bare(mi.type_info(WAIT))
    assert isinstance(kind, mi.FloatType)
    assert extra == {"form": "duration"}
    assert bare(kind) == (kind, {})
