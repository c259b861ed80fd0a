"""The layout holds: every module has its test and its docstring, no file is too long, and the names are ours."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("config", "transcoding", "state", "routing", "policies", "gateway")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_FILES = [
    *MODULES,
    *(path.relative_to(ROOT) for folder in ("tests", "loadtests", "deploy") for path in (ROOT / folder).rglob("*.py")),
]
MAX_LINES = 400
MAX_FUNCTION_LINES = 60


@pytest.mark.parametrize("module", [each for each in MODULES if each.name != "__init__.py"], ids=str)
def test_each_module_has_its_test(module: Path) -> None:
    test = ROOT / "tests" / module.parent / f"test_{module.name}"
    assert test.exists(), f"{module} has no {test.relative_to(ROOT)}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_each_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse((ROOT / module).read_text())), f"{module} has no docstring"


@pytest.mark.parametrize("path", ALL_FILES, ids=str)
def test_no_file_is_too_long(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_function_is_too_long(module: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{module}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("package", PACKAGES)
def test_package_names_are_ours(package: str) -> None:
    file = importlib.import_module(package).__file__
    assert file is not None
    assert Path(file).parent == ROOT / package
