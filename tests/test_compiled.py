"""What the modules that may be compiled must not do, and that a test run of the compiled build runs it.

mypyc 2.4 evaluates the bounds of a slice twice unless it knows the type that is sliced, and takes what a starred
iterable in a list gives only after it has evaluated the items behind it. `raise … from error` raises without the cause.
All are silent; so none may matter. And a name has one type in a function, that of where it is first bound: two
`except … as error` of different types raise TypeError.
"""

from __future__ import annotations

import ast
import importlib
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.build import BUILD, ROOT, VARIABLE

PATTERNS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["penstock"]["compile"]["modules"]
COMPILED = sorted({path.relative_to(ROOT) for pattern in PATTERNS for path in ROOT.glob(pattern)})
EAGER = {"dict", "items", "keys", "list", "sorted", "tuple", "values"}


def called(node: ast.expr) -> str | None:
    """The last name of the function that is called here, None for what is no call."""
    if not isinstance(node, ast.Call):
        return None
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def effects(bounds: ast.Slice) -> Iterator[str]:
    """What is done in the bounds of a slice, beyond arithmetic."""
    for each in ast.walk(bounds):
        if isinstance(each, ast.Await | ast.Yield | ast.NamedExpr | ast.Call) and called(each) != "len":
            yield ast.unparse(each)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_names_a_module(pattern: str) -> None:
    assert list(ROOT.glob(pattern))


@pytest.mark.parametrize("path", COMPILED, ids=str)
def test_bounds_of_slices_have_no_effects(path: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Slice):
            assert not list(effects(node)), f"{path}:{node.lineno}: give the bound a name first"


@pytest.mark.parametrize("path", COMPILED, ids=str)
def test_starred_iterables_are_there_already(path: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        for item in getattr(node, "elts", [])[:-1]:  # nothing is behind the last one
            if isinstance(item, ast.Starred):
                lazy = isinstance(item.value, ast.GeneratorExp) or called(item.value) not in {None, *EAGER}
                assert not lazy, f"{path}:{item.lineno}: make a list first"


@pytest.mark.parametrize("path", COMPILED, ids=str)
def test_causes_are_set_by_hand(path: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Raise) and node.cause is not None:
            is_none = isinstance(node.cause, ast.Constant) and node.cause.value is None
            assert is_none, f"{path}:{node.lineno}: set `__cause__` and raise that"


@pytest.mark.parametrize("path", COMPILED, ids=str)
def test_a_name_is_bound_to_one_kind_of_exception(path: Path) -> None:
    for function in ast.walk(ast.parse((ROOT / path).read_text())):
        bound: dict[str, str] = {}
        for node in ast.walk(function) if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) else ():
            if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                kind = ast.unparse(node.type)
                assert bound.setdefault(node.name, kind) == kind, f"{path}:{node.lineno}: take another name"


@pytest.mark.skipif(VARIABLE not in os.environ, reason="the source is tested")
@pytest.mark.parametrize("path", [each for each in COMPILED if each.name != "__init__.py"], ids=str)
def test_it_is_what_runs(path: Path) -> None:
    file = importlib.import_module(".".join(path.with_suffix("").parts)).__file__
    assert file is not None
    assert file.endswith(".so")
    assert Path(file).is_relative_to(BUILD)
