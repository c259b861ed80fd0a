"""Strict JSON with three more literals."""

from __future__ import annotations

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.json_text import _CHUNK, MAX_DEPTH, check_depth, dumps, loads, quote
from transcoding.status import GatewayError

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_what_is_written_is_read(value: object) -> None:
    assert loads(dumps(value)) == value


@given(values)
def test_constants_change_nothing_else(value: object) -> None:
    """The reader that knows NaN agrees with orjson on the rest of the document, strings like "NaN" included."""
    body = b'[NaN, "NaN", "\\"Infinity", -Infinity,' + json.dumps(value, allow_nan=False).encode() + b"]"
    try:
        expected = orjson.loads(json.dumps(value, allow_nan=False))
    except orjson.JSONDecodeError:
        return
    read = loads(body)
    assert math.isnan(read[0])
    assert read[1:] == ["NaN", '"Infinity', -math.inf, expected]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"[18446744073709551615]", [2**64 - 1]),
        (b"[18446744073709551616]", [2.0**64]),
        (b"[NaN,18446744073709551616]", [2.0**64]),
        (b"[NaN,-9223372036854775809]", [-(2.0**63)]),
        (b"[NaN,18446744073709551615]", [2**64 - 1]),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b' {"a":1} \r\n', {"a": 1}),
        (b'"\\u0000\\ud83d\\ude00"', "\x00😀"),
    ],
)
def test_numbers_and_keys_have_one_meaning(text: bytes, value: object) -> None:
    read = loads(text)
    read = read[1:] if b"NaN" in text else read
    assert read == value
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"not json",
        b"[1,]",
        b"[1]x",
        b"[01]",
        b"[1e400]",
        b"[NaN,1e400]",
        b"[nan]",
        b"[-NaN]",
        b"[1NaN]",
        b"[NaNNaN]",
        b"[+Infinity]",
        b"NaN NaN",
        b'["\\ud800"]',
        b'[NaN,"\\ud800"]',
        b'[NaN,"\x01"]',
        b'["\xff"]',
        b'[NaN,"\xff"]',
        b"\xef\xbb\xbf[]",
        b'["NaN]',
        b"{1:2}",
        b"[1/*c*/]",
        b"\xfe\xff[NaN]",
        b"[NaN," + b"9" * 5000 + b"]",
    ],
)
def test_everything_else_is_an_error(text: bytes) -> None:
    with pytest.raises(GatewayError, match=r"^request body: expected JSON, .* at byte [0-9]+$") as error:
        loads(text)
    assert error.value.http_status == 400


@pytest.mark.parametrize(("text", "offset"), [(b'{"a":x}', 5), ('{"é":x}'.encode(), 6), (b'[NaN,"a",x]', 9)])
def test_the_place_of_a_mistake_is_in_bytes(text: bytes, offset: int) -> None:
    with pytest.raises(GatewayError, match=f"at byte {offset}$"):
        loads(text)


def nested(depth: int, inner: bytes = b"") -> bytes:
    return b"[" * depth + inner + b"]" * depth


@pytest.mark.parametrize("padding", [b"", b" " * _CHUNK])
def test_depth_is_capped(padding: bytes) -> None:
    loads(nested(MAX_DEPTH) + padding)
    loads(nested(MAX_DEPTH, b"NaN") + padding)
    for text in (nested(MAX_DEPTH + 1), b'{"a":' * 101 + b"1" + b"}" * 101, b"[" * 100_000, nested(101, b"NaN")):
        with pytest.raises(GatewayError, match="nested deeper than 100 levels"):
            loads(text + padding)


@pytest.mark.parametrize("padding", [b"", b" " * _CHUNK])
@pytest.mark.parametrize("inner", [b'"]]]]]"', b'"\\"]]]"', b'"[[[["', b'"a","]","["'])
def test_brackets_in_strings_are_not_depth(inner: bytes, padding: bytes) -> None:
    check_depth(b"[" + inner + b"," + b",".join([b"[]"] * 200) + b"]" + padding)
    check_depth(nested(MAX_DEPTH, inner) + padding)
    with pytest.raises(GatewayError):
        check_depth(b"[" + inner + b"," + nested(MAX_DEPTH) + b"]" + padding)


def test_many_brackets_side_by_side_are_shallow() -> None:
    assert len(loads(b"[" + b",".join([b"{}"] * 5000) + b"]")) == 5000


def test_constants_are_written_as_triton_does() -> None:
    assert dumps({"a": math.nan, "b": [math.inf, -math.inf], "c": "null"}) == (
        b'{"a":NaN,"b":[Infinity,-Infinity],"c":"null"}'
    )
    assert dumps(["null", None, 1]) == b'["null",null,1]'


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0"), (True, "true"), (None, "null"), ("a", '"a"'), ([1], "an array"), ({}, "an object"), (2**70, None)],
)
def test_quotes_are_short_json(value: object, text: str | None) -> None:
    assert quote(value) == (text or str(value))
    assert len(quote("x" * 1000)) <= 43
