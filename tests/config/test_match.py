"""Names and globs, against fnmatch, and against patterns made to backtrack."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.match import GlobError, compile_patterns, covers, is_exact, tokens

GLOBS = st.lists(st.sampled_from(["*", "?", "a", "b", ".", "\\", "[ab]", "[!a]", "[*]", "[a-]"]), max_size=7).map(
    "".join
)
NAMES = st.text(alphabet="ab.*\\-\n", max_size=8)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("resnet50", ["resnet50"], ["resnet5", "resnet500", "Resnet50", ""]),
        ("resnet*", ["resnet", "resnet50"], ["aresnet"]),
        ("*", ["", "a", "a\nb", "a/b"], []),
        ("a?c", ["abc", "a.c"], ["ac", "abbc"]),
        ("v[0-9]", ["v0", "v9"], ["v", "va", "v10"]),
        ("v[!0-9]", ["va"], ["v0", "v"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[!]a]", ["b"], ["]", "a"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[[]x", ["[x"], ["x"]),
        ("a.c", ["a.c"], ["abc"]),
        ("*a*b", ["ab", "xaxb", "aabab"], ["a", "ba"]),
        ("ab*ba", ["abba", "abxba"], ["aba"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = compile_patterns([pattern])
    assert [name for name in yes + no if compiled.matches(name)] == yes


def test_names_are_apart_from_globs() -> None:
    compiled = compile_patterns(["b", "c*", "a", "?x"])
    assert compiled.names == {"a", "b"}
    assert compiled.globs is not None
    assert [name for name in ("a", "b", "c", "cx", "zx", "z") if compiled.matches(name)] == ["a", "b", "c", "cx", "zx"]
    assert compile_patterns(["a"]).globs is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a[", "closes the '\\[' at character 2"),
        ("[]", "closes the"),
        ("[!]", "closes the"),
        ("[z-a]", "range from low to high, got 'z-a'"),
        ("[^a]", "expected \\[!…\\]"),
    ],
)
def test_a_bad_class(pattern: str, message: str) -> None:
    with pytest.raises(GlobError, match=message):
        compile_patterns([pattern])


@pytest.mark.parametrize("pattern", ["*a" * 20 + "b", "*a*a*a*a*b", "a*" * 50 + "b", "?*" * 20 + "b", "*" * 100 + "b"])
def test_a_pattern_that_invites_backtracking_does_not(pattern: str) -> None:
    matcher = compile_patterns([pattern])
    began = time.process_time()
    assert not matcher.matches("a" * 20_000)
    assert time.process_time() - began < 1  # backtracking over four stars takes 10**15 steps


@given(GLOBS, NAMES)
@settings(max_examples=300)
def test_the_same_as_fnmatch(pattern: str, name: str) -> None:
    assert compile_patterns([pattern]).matches(name) == fnmatch.fnmatchcase(name, pattern)


@given(st.text(max_size=12), NAMES)
def test_any_text_compiles_or_is_a_glob_error(pattern: str, name: str) -> None:
    try:
        matches = compile_patterns([pattern]).matches(name)
    except GlobError:
        return
    assert isinstance(matches, bool)


@given(GLOBS, GLOBS, NAMES)
@settings(max_examples=500)
def test_a_general_pattern_matches_all_that_a_covered_one_does(general: str, special: str, name: str) -> None:
    if covers(tokens(general), tokens(special)) and compile_patterns([special]).matches(name):
        assert compile_patterns([general]).matches(name)


@given(NAMES.filter(lambda name: name != ""), GLOBS)
def test_covering_a_name_is_matching_it(name: str, pattern: str) -> None:
    if is_exact(name):
        assert covers(tokens(pattern), tokens(name)) == compile_patterns([pattern]).matches(name)


@pytest.mark.parametrize(
    ("general", "special", "expected"),
    [
        ("*", "resnet*", True),
        ("*", "*", True),
        ("res*", "resnet-*", True),
        ("resnet-*", "res*", False),
        ("a?", "a[bc]", True),
        ("a[bc]", "a?", False),
        ("a[bc]", "ab", True),
        ("[.]", "?", False),
        ("a*b", "a*c*b", True),
        ("a*c*b", "a*b", False),
        ("?*", "*?", True),
        ("**", "*", True),
        ("a", "a*", False),
    ],
)
def test_covers(general: str, special: str, expected: bool) -> None:
    assert covers(tokens(general), tokens(special)) is expected
