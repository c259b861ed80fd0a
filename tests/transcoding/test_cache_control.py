"""Directives of Cache-Control as RFC 9111 has them; what is not understood does no harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.cache_control import NONE, Directives, parse


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", NONE),
        (b"no-store", Directives(no_store=True)),
        (b"No-Cache", Directives(no_cache=True)),
        (b"max-age=30", Directives(max_age=30.0)),
        (b'max-age="30"', Directives(max_age=30.0)),
        (b"max-age=0", Directives(no_cache=True, max_age=0.0)),
        (b"max-age=-1", Directives(no_cache=True, max_age=0.0)),
        (b"max-age=soon", Directives(no_cache=True, max_age=0.0)),
        (b"max-age", Directives(no_cache=True, max_age=0.0)),
        (b"max-age=5, max-age=7", Directives(max_age=5.0)),
        (b"only-if-cached,no-transform", Directives(only_if_cached=True)),
        (b" no-cache , no-store ,, x=y", Directives(no_store=True, no_cache=True)),
        (b"max-age=99999999999999999999", Directives(max_age=9999999999.0)),
        (b"max-age=\xb2", Directives(no_cache=True, max_age=0.0)),
    ],
)
def test_directives(value: bytes, expected: Directives) -> None:
    assert parse(value) == expected


@given(st.binary(max_size=2000))
def test_any_bytes_are_directives(value: bytes) -> None:
    assert isinstance(parse(value), Directives)
