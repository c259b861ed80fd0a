"""Regular expressions of RE2."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.regex import compile_regex


@pytest.mark.parametrize(
    ("expression", "text", "fits"),
    [
        ("a+", "aaa", True),
        ("a", "aa", False),
        ("(?i)beta|canary", "CANARY", True),
        (r"\d{1,3}\.\d+", "12.5", True),
        ("é.", "éx", True),
        ("", "", True),
    ],
)
def test_the_whole_text_is_matched(expression: str, text: str, fits: bool) -> None:
    assert (compile_regex(expression).fullmatch(text) is not None) is fits
    assert (compile_regex(expression).fullmatch(text.encode()) is not None) is fits


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(a", r"missing \)"),
        ("[z-a]", "invalid character class range"),
        ("a{2000}", "invalid repetition size"),
        ("(?=a)", "invalid perl operator: .*; lookarounds"),
        ("(?<!a)b", "lookarounds and backreferences are not part of RE2"),
        (r"(a)\1", "lookarounds and backreferences are not part of RE2"),
        ("((((a{100}){100}){100}))", "invalid repetition size"),
        ("(((x{30}){30})|y){30}", "expected a regular expression of RE2"),
        ("a" * 1001, "expected at most 1000 characters, got 1001"),
    ],
)
def test_what_is_no_expression(expression: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        compile_regex(expression)


@pytest.mark.parametrize("expression", ["(a+)+b", "(a|aa)+b", "(.*a){20}", "(x+x+)+y"])
def test_no_expression_backtracks(expression: str) -> None:
    compiled = compile_regex(expression)
    began = time.process_time()
    compiled.fullmatch("a" * 50_000)
    compiled.fullmatch("x" * 50_000)
    assert time.process_time() - began < 5  # years, were it to backtrack


@given(st.text(alphabet="ab|()*+?{}[]\\1,^$.é\x00", max_size=30))
def test_any_text_is_an_expression_or_a_value_error(text: str) -> None:
    try:
        said = f"expected {compile_regex(text).fullmatch('ab')}"
    except ValueError as error:
        said = str(error)
    assert said.startswith("expected ")
