"""YAML within its bounds, on both of PyYAML's parsers."""

from __future__ import annotations

import itertools
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config import nodes
from config.nodes import MAX_BYTES, MAX_DEPTH, Mark, Unreadable, compose, pairs


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of PyYAML's parsers: the one on libyaml may be missing."""
    monkeypatch.setattr(nodes, "_Loader", getattr(yaml, request.param))


def refusal(text: str) -> str:
    with pytest.raises(Unreadable) as caught:
        compose(text)
    return f"{caught.value.line}:{caught.value.column}: {caught.value.message}"


def own_pairs(text: str) -> tuple[dict[str, str], list[str]]:
    """Keys and values of the mapping in `text`, and what was reported."""
    reports: list[str] = []

    def report(mark: Mark, message: str) -> None:
        reports.append(f"{mark.line + 1}:{mark.column + 1}: {message}")

    root = compose(text)
    assert isinstance(root, yaml.MappingNode)
    return {key.value: value.value for key, value in pairs(root, report)}, reports


@pytest.mark.usefixtures("_loader")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1, 2\n", "2:1: not YAML: "),
        ("a: 1\n b: 2", "2:3: not YAML: "),
        ("model: *", "1:9: not YAML: "),
        ("a: *b", "1:4: not YAML: found undefined alias"),
        ("é: !!python/object:os.system x", "1:4: expected a value without a tag, got 'tag:yaml.org,2002:python/object"),
        ("a: !include x", "1:4: expected a value without a tag, got '!include'"),
        ("a: ! x", "1:4: expected a value without a tag, got '!'"),
        ("a: !!str 5", "1:4: expected a value without a tag"),
        ("a: 1\n---\nb: 2", "2:1: not YAML: but found another document"),
        ("a: &a [*a]", "1:8: expected a value, got *a, which contains this place"),
        ("a: &a {<<: *a}", "1:12: expected a value, got *a, which contains this place"),
        ("a: 1\nb: \x00", "2:4: expected printable text, got the character '\\x00'"),
        ("\ud800", "1:1: expected printable text, got the character '\\ud800'"),
        ("[" * 33, f"1:32: expected at most {MAX_DEPTH} levels of nesting"),
        ("- " * 100, "1:63: expected at most"),
    ],
)
def test_what_is_refused_and_where(text: str, expected: str) -> None:
    assert refusal(text).startswith(expected)


def test_what_is_left_open_names_its_line() -> None:
    assert refusal("a: 1\nb: [1\n\n").endswith("(while parsing a flow sequence that begins in line 2)")


def test_a_star_without_quotes_is_explained() -> None:
    assert refusal("model: *").endswith("; a value that begins with * is written in quotes")


@pytest.mark.usefixtures("_loader")
def test_a_bomb_of_aliases_is_refused_before_it_expands() -> None:
    names = "abcdefghij"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in itertools.pairwise(names)]
    assert "expected at most 200000 values, aliases expanded" in refusal("\n".join(lines))


@pytest.mark.usefixtures("_loader")
def test_aliases_cannot_nest_deeper_than_brackets() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i + 1}: &a{i + 1} [*a{i}]" for i in range(50)]
    assert f"expected at most {MAX_DEPTH} levels of nesting" in refusal("\n".join(lines))


def test_the_deepest_nesting_that_is_allowed() -> None:
    depth = MAX_DEPTH - 1
    assert compose("[" * depth + "]" * depth) is not None


@pytest.mark.parametrize("text", ["[" * 10**6, "{" * 10**6, "- " * 500_000, "? " * 500_000, "a: &a\n" * 150_000])
def test_hostile_nesting_ends_at_once(text: str) -> None:
    began = time.process_time()
    refusal(text)
    assert time.process_time() - began < 2  # libyaml alone takes minutes for the first


def test_a_large_file_is_refused() -> None:
    assert refusal("#" * (MAX_BYTES + 1)) == f"1:1: expected at most {MAX_BYTES} bytes, got {MAX_BYTES + 1}"
    assert compose("#" * MAX_BYTES) is None


def test_a_byte_order_mark_is_passed_over() -> None:
    root = compose("\ufeffa: 1")
    assert root is not None
    assert root.start_mark.column == 0


def test_keys_given_twice_name_both_lines() -> None:
    assert own_pairs("a: 1\nb: 2\n'a': 3") == ({"a": "1", "b": "2"}, ["3:1: 'a' is given twice, first in line 1"])


def test_keys_that_are_no_names() -> None:
    _, reports = own_pairs("? [a]\n: 1\nb: 2")
    assert reports == ["1:3: expected a name as the key, got a list or a mapping"]


def test_merged_keys_yield_to_own_ones_and_to_earlier_ones() -> None:
    root = compose("base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nall: {<<: [*b, *m], x: 0}")
    assert isinstance(root, yaml.MappingNode)
    merged = {key.value: value.value for key, value in pairs(root.value[2][1], lambda *_: pytest.fail("reported"))}
    assert merged == {"x": "0", "y": "2", "z": "4"}


def test_only_mappings_are_merged() -> None:
    assert own_pairs("<<: 5\na: 1") == ({"a": "1"}, ["1:5: expected a mapping, or a list of mappings, to merge"])


@given(st.text(alphabet="ab:-?*&!%|>'\"[]{},#\n \t<\\\ufeff\x85", max_size=40) | st.text(max_size=40))
def test_any_text_is_a_node_or_unreadable(text: str) -> None:
    try:
        root = compose(text)
    except Unreadable as error:
        line, column = error.line, error.column
    else:
        line, column = (root.start_mark.line + 1, root.start_mark.column + 1) if root else (1, 1)
    assert line >= 1
    assert column >= 1
