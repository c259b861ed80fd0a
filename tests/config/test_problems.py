"""How mistakes read."""

from __future__ import annotations

import pytest

from config.problems import ConfigError, Path, Problem, did_you_mean, joined, listed, path_text, quote


def test_a_problem_is_one_line() -> None:
    problem = Problem("gateway.yaml", 27, 12, "routes[0].to.pool", "expected the name of a pool")
    assert str(problem) == "gateway.yaml:27:12: routes[0].to.pool: expected the name of a pool"


def test_a_problem_of_the_whole_file_has_no_path() -> None:
    assert str(Problem("gateway.yaml", 1, 1, "", "an empty file")) == "gateway.yaml:1:1: an empty file"


def test_an_error_has_all_problems_in_the_order_of_the_file() -> None:
    places = [(3, 1), (1, 9), (1, 2)]
    error = ConfigError(Problem("f", line, column, "", "no") for line, column in places)
    assert [(p.line, p.column) for p in error.problems] == sorted(places)
    assert str(error) == "f:1:2: no\nf:1:9: no\nf:3:1: no"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("routes", 0, "to", "pool"), "routes[0].to.pool"),
        (("pools", "a.b", "pick"), "pools['a.b'].pick"),
        (("pools", "a\nb"), r"pools['a\nb']"),
    ],
)
def test_paths(path: Path, text: str) -> None:
    assert path_text(path) == text


def test_a_quoted_value_is_short_and_on_one_line() -> None:
    assert quote("a\nb\x00\ud800") == r"'a\nb\x00\ud800'"
    assert len(quote("x" * 1000)) < 80


def test_long_lists_are_cut() -> None:
    assert listed("abc") == "a, b, c"
    assert listed(map(str, range(14))).endswith("10, 11, and 2 more")


def test_a_choice_in_words() -> None:
    assert [joined(names) for names in ([], ["a"], ["a", "b"], ("a", "b", "c"))] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_a_near_word_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("visoin", ["vision", "local"]) == "; did you mean 'vision'?"
    assert did_you_mean("elsewhere", ["vision", "local"]) == ""
    assert did_you_mean("vision" * 100, ["vision" * 100]) == ""
