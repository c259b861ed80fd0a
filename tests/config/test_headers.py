"""Headers that a configuration may name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.headers import forwarded_header, hash_key, matched_header


@pytest.mark.parametrize("text", ["x-request-id", "X-Tenant-*", "a.b_c-1", "*"])
def test_headers_to_pass_on(text: str) -> None:
    assert forwarded_header(text) == text.lower()


@pytest.mark.parametrize("text", ["x-user", "X-Model-Version", "user-agent", "content-type", "x-forwarded-for", "a+b"])
def test_headers_to_look_at(text: str) -> None:
    assert matched_header(text) == text.lower()
    assert hash_key(f"header:{text}") == f"header:{text.lower()}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x-*", "expected a header name such as x-model-version, got 'x-*'"),
        (":path", "expected a header name such as x-model-version, got ':path'"),
        ("", "expected a header name such as x-model-version, got ''"),
        ("a" * 257, f"expected a header name such as x-model-version, got '{'a' * 60}'…"),
        ("Cookie", "expected a header without secrets, got 'Cookie'; clients are told apart by `principal`"),
        (
            "authorization",
            "expected a header without secrets, got 'authorization'; clients are told apart by `principal`",
        ),
        ("Host", "expected a header of the request, got 'Host', which is of its connection"),
        ("te", "expected a header of the request, got 'te', which is of its connection"),
    ],
)
def test_headers_not_to_look_at(text: str, message: str) -> None:
    for read in (matched_header, lambda name: hash_key(f"header:{name}")):
        with pytest.raises(ValueError) as caught:
            read(text)
        assert str(caught.value) == message


@pytest.mark.parametrize("text", ["principal", "sequence", "body"])
def test_other_hash_keys(text: str) -> None:
    assert hash_key(text) == text


@pytest.mark.parametrize("text", ["", "header", "x-user", "Body", "Header:x"])
def test_no_hash_key(text: str) -> None:
    with pytest.raises(ValueError, match="expected header:NAME, principal, sequence or body, got "):
        hash_key(text)


@given(st.text(max_size=20))
def test_any_text_is_a_name_or_a_value_error(text: str) -> None:
    for read in (forwarded_header, matched_header, hash_key):
        try:
            said = f"expected {read(text)}"
        except ValueError as error:
            said = str(error)
        else:
            assert read(read(text)) == read(text)
        assert said.startswith("expected ")
