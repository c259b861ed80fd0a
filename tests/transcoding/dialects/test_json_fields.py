"""JSON bodies: mistakes are named, and nothing but a GatewayError is raised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outcome import outcome
from transcoding.dialects.json_fields import Fields, parse
from transcoding.status import GatewayError


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "body: expected a JSON object, got nothing"),
        (b"[]", "body: expected an object, got an array"),
        (b"1.5", "body: expected an object, got 1.5"),
        (b"{", "body: not valid JSON"),
        (b'{"a":NaN}', "body: not valid JSON"),
        (b"\xff", "body: not valid JSON"),
        (b"[" * 100_000, "body: not valid JSON"),
    ],
)
def test_bodies_that_are_no_object(body: bytes, text: str) -> None:
    with pytest.raises(GatewayError, match=text.replace("[", r"\[")) as raised:
        parse(body)
    assert raised.value.http_status == 400


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda f: f.text("n"), "top.n: expected a string, got 7"),
        (lambda f: f.text("gone"), "top.gone: missing"),
        (lambda f: f.boolean("n"), "top.n: expected a boolean, got 7"),
        (lambda f: f.natural("t", 9), "top.t: expected an integer from 0 to 9, got a boolean"),
        (lambda f: f.natural("n", 6), "top.n: expected an integer from 0 to 6, got 7"),
        (lambda f: f.natural("f", 6), "top.f: expected an integer from 0 to 6, got 1.0"),
        (lambda f: f.natural("minus", 6), "top.minus: expected an integer from 0 to 6, got -1"),
        (lambda f: f.base64("s"), "top.s: not valid base64"),
        (lambda f: f.base64("accent"), "top.accent: not valid base64"),
        (lambda f: f.fields("null"), "top.null: expected an object, got null"),
    ],
)
def test_members_of_the_wrong_type_are_named(read: object, text: str) -> None:
    fields = Fields({"n": 7, "t": True, "f": 1.0, "minus": -1, "s": "no!", "accent": "é", "null": None}, "top")
    with pytest.raises(GatewayError) as raised:
        read(fields)  # type: ignore[operator]
    assert raised.value.message == text


def test_members() -> None:
    fields = parse(b'{"s":"x","b":false,"n":18446744073709551615,"h":"AAE=","o":{"k":null}}')
    assert fields.text("s") == "x"
    assert fields.boolean("b") is False
    assert fields.natural("n", 2**64 - 1) == 2**64 - 1
    assert fields.base64("h") == b"\0\1"
    assert fields.fields("o").raw("k") is None
    assert fields.fields("o").at("k") == "o.k"
    assert "s" in fields
    assert "z" not in fields


@given(st.binary(max_size=100))
def test_any_bytes_give_an_object_or_a_gateway_error(body: bytes) -> None:
    result = outcome(parse, body)
    assert isinstance(result, Fields) or result.http_status == 400
